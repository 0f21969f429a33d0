//! A contract in words: every variable's type, default and meaning, its present value and where that came from.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use crate::contract::expression::{Expressions, condition_template, each_parts};
use crate::contract::registry::Package;
use crate::contract::uses;
use crate::contract::{Argument, Contract, File, Group, Passthrough, Variable};
use crate::environment::dl_settings::{About, SETTINGS};
use crate::render::format::Format;
use crate::settings::{self, Setting, Settings, Source, instance_of, split_group_name};
use crate::text::without_controls;

/// All variables, or the one called `wanted`; `None` where there is none of that name. `secrets` is the folder of
/// secret files.
pub fn explain(package: &Package, settings: &Settings, secrets: &Path, wanted: Option<&str>) -> Option<String> {
    let contract = &package.contract;
    let mut explanation = Explanation { package, settings, secrets, text: String::new() };
    if wanted.is_none() {
        explanation.line(format_args!("{}: {}", contract.service.name, contract.service.summary));
        explanation.paragraph(&contract.service.doc, "");
        explanation.line(format_args!(""));
    }
    // An old name of a whole variable, of a group's for one, is that variable.
    let wanted = wanted.map(|wanted| contract.alias.get(wanted).map_or(wanted, String::as_str));
    let declared: Vec<&Variable> =
        contract.variables.iter().filter(|variable| wanted.is_none_or(|wanted| is_called(variable, wanted))).collect();
    for variable in &declared {
        let present = settings.settings.iter().find(|setting| setting.name == variable.name);
        explanation.describe(&variable.name, variable, None, present);
    }
    contract.groups.iter().for_each(|group| explanation.describe_group(group, wanted));
    for passthrough in &contract.passthrough {
        if wanted.is_none_or(|wanted| declared.is_empty() && settings::is_passed_through(passthrough, wanted)) {
            let Passthrough { prefix, extra, doc, underscores, key_prefixes, keys, .. } = passthrough;
            explanation.describe_passthrough(prefix, extra, doc, *underscores);
            if let Some(prefix) = key_prefixes.first() {
                explanation.paragraph(&format!("As {prefix}<KEY>, too: {}.", keys.join(", ")), "    ");
            }
            explanation.describe_references(&passthrough.key);
        }
    }
    explanation.describe_own(wanted);
    Some(explanation.text).filter(|text| !text.is_empty())
}

fn is_called(variable: &Variable, wanted: &str) -> bool {
    let file = wanted.strip_suffix("_FILE").filter(|_| variable.takes_file()).unwrap_or(wanted);
    let called = |name: &str| variable.name == name || variable.aliases.iter().any(|alias| alias == name);
    called(wanted) || called(file) || variable.properties.iter().any(|property| property.key == wanted)
}

/// The text while it is written.
struct Explanation<'a> {
    package: &'a Package,
    settings: &'a Settings,
    secrets: &'a Path,
    text: String,
}

impl Explanation<'_> {
    fn line(&mut self, line: std::fmt::Arguments) {
        // A String takes everything.
        let _ = writeln!(self.text, "{line}");
    }

    fn paragraph(&mut self, words: &str, indent: &str) {
        for line in words.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.line(format_args!("{indent}{line}"));
        }
    }

    fn describe_group(&mut self, group: &Group, wanted: Option<&str>) {
        if wanted.is_none() {
            self.line(format_args!("{}<NAME>_…", group.prefix));
            self.paragraph(&group.doc, "    ");
            let place = group.passthrough.as_ref().map(|key| format!("{}.{key}", group.name));
            self.describe_references(&place.unwrap_or_default());
            self.line(format_args!(""));
        }
        // The name as this text itself writes it is one, too.
        let asked = wanted.map(|wanted| wanted.replace("<NAME>", "NAME"));
        let called = |name: &str| split_group_name(group, name).map(|(_, variable)| variable.name.as_str());
        let asked_for = asked.as_deref().and_then(called);
        for variable in &group.variables {
            if asked.is_some() && asked_for != Some(variable.name.as_str()) {
                continue;
            }
            let full = asked.as_deref().map(|name| name.strip_suffix("_FILE").unwrap_or(name));
            let present = self.settings.settings.iter().find(|setting| {
                let same = full.is_none_or(|full| setting.name == full || Some(&setting.name) == asked.as_ref());
                same && called(&setting.name) == Some(&variable.name)
            });
            self.describe(&format!("{}<NAME>_{}", group.prefix, variable.name), variable, Some(group), present);
        }
        let further = asked.as_deref().is_some_and(|name| asked_for.is_none() && instance_of(group, name).is_some());
        if further {
            let prefix = format!("{}<NAME>", group.prefix);
            self.describe_passthrough(&format!("{prefix}__"), &format!("{prefix}_EXTRA"), &group.doc, false);
        }
    }

    fn describe_passthrough(&mut self, prefix: &str, extra: &str, doc: &str, underscores: bool) {
        self.line(format_args!("{prefix}<key>, {extra}"));
        self.paragraph(doc, "    ");
        let rule = match underscores {
            true => "A key is taken as it is, in lower case; __ is a dot.",
            false => {
                "A key holding a dot or a dash is taken as it is; otherwise _ is a dot, __ a dash, ___ an underscore."
            }
        };
        self.paragraph(rule, "    ");
    }

    /// The references accepted in a passthrough whose values become lines of a file unchanged.
    fn describe_references(&mut self, place: &str) {
        let extended = self.package.contract.files.iter().find(|file| file.extend.as_deref() == Some(place));
        let format = extended.and_then(|file| Format::from_name(&file.format));
        self.paragraph(format.and_then(Format::references).unwrap_or_default(), "    ");
    }

    fn describe_own(&mut self, wanted: Option<&str>) {
        if wanted.is_none() {
            self.line(format_args!("\ndl-entry's own settings:\n"));
        }
        for About { name, default, meaning } in SETTINGS.iter().filter(|own| wanted.is_none_or(|name| name == own.name))
        {
            self.line(format_args!("{name}"));
            self.paragraph(meaning, "    ");
            self.line(format_args!("    default:    {default}\n"));
        }
    }

    fn describe(&mut self, name: &str, variable: &Variable, group: Option<&Group>, present: Option<&Setting>) {
        self.line(format_args!("{name}"));
        self.paragraph(&variable.doc, "    ");
        if let Some(reason) = &variable.ignored {
            return self.line(format_args!("    no effect:  {reason}\n"));
        }
        let accepted = crate::contract::type_of(variable).map(|kind| kind.accepted()).unwrap_or_default();
        let percent = if variable.percent_of.is_some() { ", or a percentage" } else { "" };
        self.line(format_args!("    accepted:   {accepted}{percent}"));
        self.line(format_args!("    default:    {}", default(variable)));
        if variable.takes_file() {
            let file = self.secrets.join(name.to_lowercase());
            self.line(format_args!("    also:       {name}_FILE, or the file {}", file.display()));
        }
        if !variable.properties.is_empty() {
            let keys: Vec<&str> = variable.properties.iter().map(|property| property.key.as_str()).collect();
            self.line(format_args!("    key:        {}", keys.join(", ")));
        }
        if !variable.aliases.is_empty() {
            self.line(format_args!("    old names:  {}", variable.aliases.join(", ")));
        }
        self.line(format_args!("    ends up in: {}", self.destinations(variable, group)));
        if let Some(setting) = present {
            let shown = match (setting.shown.as_str(), &setting.source) {
                ("", Source::Unset) => "not set",
                ("", _) => "not accepted: check-env says why",
                (shown, _) => shown,
            };
            let (shown, source) = (without_controls(shown), without_controls(&setting.source.to_string()));
            self.line(format_args!("    now:        {shown} (from: {source})"));
        }
        self.line(format_args!(""));
    }

    /// The files and parts of the contract that use a variable, directly or through values worked out from it.
    fn destinations(&self, variable: &Variable, group: Option<&Group>) -> String {
        let contract: &Contract = &self.package.contract;
        let names = uses::reach(&self.package.uses, contract.key_of(variable).into_owned());
        let uses = |text: &str| match group {
            Some(_) => false,
            None => Expressions::default().variables(text).is_ok_and(|used| !used.is_disjoint(&names)),
        };
        let mut places: Vec<String> = Vec::new();
        if variable.export.is_some() || contract.child.set.values().any(|text| uses(text)) {
            places.push("the service's environment".into());
        }
        if contract.service.command.iter().any(|argument| argument_texts(argument).any(|text| uses(&text))) {
            places.push("the command line".into());
        }
        let own = group.map(|group| format!("{}.{}", group.name, Group::key_of(variable)));
        let read = |name: &str| own.as_ref().map_or_else(|| names.contains(name), |own| own == name);
        let reads = |file: &File| self.package.read_by(&file.template).any(read);
        let files = contract.files.iter().filter(|file| reads(file) || uses(&file.path));
        let path = |file: &File| {
            let mut context = self.settings.context.clone();
            // Any one of them.
            let any = HashMap::from([("name", "<NAME>"), ("spelling", "<NAME>")]);
            file.each.as_deref().and_then(each_parts).inspect(|(item, _)| context.insert((*item).to_owned(), &any));
            Expressions::default().text(&file.path, &context).unwrap_or_else(|_| file.path.clone())
        };
        places.extend(files.map(path));
        places.dedup();
        if places.is_empty() { "defaults, rules and start-up of other settings".into() } else { places.join(", ") }
    }
}

fn default(variable: &Variable) -> String {
    let default = match variable.default.as_ref().map(|default| default.0.as_str()) {
        None => "none",
        // Its meaning is in the variable's doc; an expression is no answer to who asks what happens without it.
        Some(expression) if expression.contains("{%") || expression.contains("{{") => {
            "worked out from other settings or the container"
        }
        Some(text) => text,
    };
    match (variable.required, &variable.required_if) {
        (true, _) => "required".to_owned(),
        (false, Some(condition)) => format!("{default}; required if {condition}"),
        (false, None) => default.to_owned(),
    }
}

/// The expressions of one argument of the command.
fn argument_texts(argument: &Argument) -> impl Iterator<Item = String> {
    let (value, when, each) = match argument {
        Argument::Plain(value) => (value.clone(), None, None),
        Argument::Conditional(argument) => (argument.value.clone(), argument.when.clone(), argument.each.clone()),
    };
    let list = each.as_deref().and_then(each_parts).map(|(_, list)| format!("{{{{ {list} }}}}"));
    [Some(value), when.map(|when| condition_template(&when)), list].into_iter().flatten()
}
