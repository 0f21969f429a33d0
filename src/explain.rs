//! A contract in words: every variable's type, default and meaning, its present value and where that came from.

use std::collections::HashSet;
use std::fmt::Write;

use crate::catalogue::Package;
use crate::contract::{Argument, Contract, File, Group, Variable};
use crate::expression::{Expressions, condition_template, each_parts};
use crate::settings::{Setting, Settings};
use crate::value::ValueType;

/// All variables, or the one called `wanted`; `None` where there is none of that name.
pub fn explain(package: &Package, settings: &Settings, wanted: Option<&str>) -> Option<String> {
    let contract = &package.contract;
    let mut text = String::new();
    if wanted.is_none() {
        let _ = writeln!(text, "{}: {}", contract.service.name, contract.service.summary);
        paragraph(&mut text, &contract.service.doc, "");
        text.push('\n');
    }
    for variable in &contract.variables {
        if wanted.is_none_or(|wanted| is_called(variable, wanted)) {
            let present = settings.settings.iter().find(|setting| setting.name == variable.name);
            describe(&mut text, package, &variable.name, variable, present);
        }
    }
    for group in &contract.groups {
        describe_group(&mut text, package, group, settings, wanted);
    }
    for passthrough in &contract.passthrough {
        let name = format!("{}<key>", passthrough.prefix);
        if wanted.is_none_or(|wanted| wanted.starts_with(&passthrough.prefix) || wanted == passthrough.extra) {
            let _ = writeln!(text, "{name}, {}", passthrough.extra);
            paragraph(&mut text, &passthrough.doc, "    ");
            let rule =
                "A key holding a dot or a dash is taken as it is; otherwise _ is a dot, __ a dash, ___ an underscore.";
            paragraph(&mut text, rule, "    ");
        }
    }
    (!text.is_empty()).then_some(text)
}

fn is_called(variable: &Variable, wanted: &str) -> bool {
    let file = wanted.strip_suffix("_FILE").filter(|_| variable.takes_file()).unwrap_or(wanted);
    [wanted, file].iter().any(|name| variable.name == *name || variable.aliases.iter().any(|alias| alias == name))
}

fn describe_group(text: &mut String, package: &Package, group: &Group, settings: &Settings, wanted: Option<&str>) {
    if wanted.is_none() {
        let _ = writeln!(text, "{}<NAME>_…", group.prefix);
        paragraph(text, &group.doc, "    ");
        text.push('\n');
    }
    for variable in &group.variables {
        let ending = format!("_{}", variable.name);
        let matches = |wanted: &str| wanted.starts_with(&group.prefix) && wanted.ends_with(&ending);
        if wanted.is_none_or(matches) {
            let of_group =
                |setting: &&Setting| setting.name.starts_with(&group.prefix) && setting.name.ends_with(&ending);
            let exact = |setting: &&Setting| wanted.is_none_or(|wanted| setting.name == wanted);
            let present = settings.settings.iter().filter(of_group).find(exact);
            describe(text, package, &format!("{}<NAME>{ending}", group.prefix), variable, present);
        }
    }
}

fn describe(text: &mut String, package: &Package, name: &str, variable: &Variable, present: Option<&Setting>) {
    let _ = writeln!(text, "{name}");
    paragraph(text, &variable.doc, "    ");
    if let Some(reason) = &variable.ignored {
        let _ = writeln!(text, "    no effect:  {reason}\n");
        return;
    }
    let accepted = ValueType::of(variable).map(|kind| kind.accepted()).unwrap_or_default();
    let percent = if variable.percent_of.is_some() { ", or a percentage" } else { "" };
    let _ = writeln!(text, "    accepted:   {accepted}{percent}");
    let default = variable.default.as_ref().map_or("none", |default| default.0.as_str());
    let required = match (variable.required, &variable.required_if) {
        (true, _) => "required".to_owned(),
        (false, Some(condition)) => format!("{default}; required if {condition}"),
        (false, None) => default.to_owned(),
    };
    let _ = writeln!(text, "    default:    {required}");
    if variable.takes_file() {
        let _ = writeln!(text, "    also:       {name}_FILE, or the file /run/secrets/{}", name.to_lowercase());
    }
    if !variable.aliases.is_empty() {
        let _ = writeln!(text, "    old names:  {}", variable.aliases.join(", "));
    }
    let _ = writeln!(text, "    ends up in: {}", destinations(package, variable));
    if let Some(setting) = present {
        let shown = if setting.shown.is_empty() { "not set" } else { &setting.shown };
        let _ = writeln!(text, "    now:        {shown} (from: {})", setting.source);
    }
    text.push('\n');
}

/// The files and parts of the contract that use a variable, directly or through values worked out from it.
fn destinations(package: &Package, variable: &Variable) -> String {
    let contract: &Contract = &package.contract;
    let names = reach(contract, contract.key_of(variable));
    let uses = |text: &str| Expressions::variables(text).is_ok_and(|used| !used.is_disjoint(&names));
    let mut places: Vec<String> = Vec::new();
    if variable.export.is_some() || contract.child.set.values().any(|text| uses(text)) {
        places.push("the service's environment".into());
    }
    if contract.service.command.iter().any(|argument| argument_texts(argument).any(|text| uses(&text))) {
        places.push("the command line".into());
    }
    let template = |file: &File| package.files.get(&file.template).map(String::as_str).unwrap_or_default();
    let files = contract.files.iter().filter(|file| uses(template(file)) || uses(&file.path));
    places.extend(files.map(|file| file.path.replace("{{ etc }}/", "")));
    places.dedup();
    if places.is_empty() { "defaults, rules and start-up of other settings".into() } else { places.join(", ") }
}

/// A key, and every `let` that is worked out from it.
fn reach(contract: &Contract, key: String) -> HashSet<String> {
    let mut names = HashSet::from([key]);
    for derived in &contract.derived {
        if Expressions::variables(&derived.value).is_ok_and(|used| !used.is_disjoint(&names)) {
            names.insert(derived.name.clone());
        }
    }
    names
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

fn paragraph(text: &mut String, words: &str, indent: &str) {
    for line in words.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "{indent}{line}");
    }
}
