//! etcd: one member that says it is healthy is enough, because it only says so while the cluster has a leader
//! (etcd documentation, "Monitoring etcd", health check).

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Miss;
use crate::net::http::{self, Reason, Unmet};
use crate::plan::{HttpProbe, JsonExpectation};

/// Asks every member at once; an endpoint is `HOST:PORT` or a URL. Ends a little before the attempt does, or a silent
/// member would hide what the others said.
pub(super) async fn one_is_healthy(endpoints: &[String], allowed: Duration) -> Result<(), Miss> {
    let within = allowed.mul_f32(0.9);
    let asked = endpoints.iter().enumerate().map(|(position, endpoint)| async move {
        let probe = health_of(endpoint);
        (position, http::ask(&probe, within).await)
    });
    let mut running: FuturesUnordered<_> = asked.collect();
    let mut misses = Vec::new();
    while let Some((position, answer)) = running.next().await {
        match answer {
            Ok(()) => return Ok(()),
            // How long it was asked says nothing of it, and the last attempt is shorter.
            Err(Unmet { url, reason: Reason::NoAnswer { .. } }) => misses.push((position, format!("{url}: no answer"))),
            Err(unmet) => misses.push((position, unmet.to_string())),
        }
    }
    // Sorted, or the order of answers would look like a change of the error.
    misses.sort();
    let told: Vec<_> = misses.into_iter().map(|(_, miss)| miss).collect();
    Err(Miss::NotYet(if told.is_empty() { "no endpoint is configured".to_owned() } else { told.join("; ") }))
}

fn health_of(endpoint: &str) -> HttpProbe {
    let base = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    HttpProbe {
        method: "GET".to_owned(),
        url: format!("{}/health", base.trim_end_matches('/')),
        headers: Vec::new(),
        body: None,
        statuses: Vec::new(),
        json: vec![("/health".to_owned(), JsonExpectation::Equals("true".into()))],
        insecure_tls: false,
        root_certificate: None,
    }
}
