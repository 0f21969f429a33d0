//! Rules about the project's own source text.
//!
//! `behaviours` holds the tests against the list of behaviours, `layers` the modules against the order they build on
//! each other in, `flaws` the table of flaws against the tests it names, `service_names` the engine against the names of services.

mod behaviours;
mod flaws;
mod layers;
mod service_names;
mod source;
