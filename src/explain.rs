//! A contract in words: every variable's type, default and meaning, its present value and where that came from.

use std::collections::HashSet;
use std::fmt::Write;

use crate::catalogue::{Package, Uses};
use crate::contract::{Argument, Contract, File, Group, Passthrough, Variable};
use crate::expression::{Expressions, condition_template, each_parts};
use crate::format::Format;
use crate::settings::{Setting, Settings};
use crate::value::ValueType;

/// All variables, or the one called `wanted`; `None` where there is none of that name.
pub fn explain(package: &Package, settings: &Settings, wanted: Option<&str>) -> Option<String> {
    let contract = &package.contract;
    let mut explanation = Explanation { package, settings, text: String::new() };
    if wanted.is_none() {
        explanation.line(format_args!("{}: {}", contract.service.name, contract.service.summary));
        explanation.paragraph(&contract.service.doc, "");
        explanation.line(format_args!(""));
    }
    for variable in contract.variables.iter().filter(|variable| wanted.is_none_or(|wanted| is_called(variable, wanted)))
    {
        let present = settings.settings.iter().find(|setting| setting.name == variable.name);
        explanation.describe(&variable.name, variable, present);
    }
    contract.groups.iter().for_each(|group| explanation.describe_group(group, wanted));
    for passthrough in &contract.passthrough {
        if wanted.is_none_or(|wanted| wanted.starts_with(&passthrough.prefix) || wanted == passthrough.extra) {
            explanation.describe_passthrough(passthrough);
        }
    }
    Some(explanation.text).filter(|text| !text.is_empty())
}

fn is_called(variable: &Variable, wanted: &str) -> bool {
    let file = wanted.strip_suffix("_FILE").filter(|_| variable.takes_file()).unwrap_or(wanted);
    [wanted, file].iter().any(|name| variable.name == *name || variable.aliases.iter().any(|alias| alias == name))
}

/// The text while it is written.
struct Explanation<'a> {
    package: &'a Package,
    settings: &'a Settings,
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
        for variable in &group.variables {
            let ending = format!("_{}", variable.name);
            let of_group = |name: &str| name.starts_with(&group.prefix) && name.ends_with(&ending);
            if wanted.is_none_or(of_group) {
                let exact =
                    |setting: &&Setting| wanted.is_none_or(|wanted| setting.name == wanted) && of_group(&setting.name);
                let present = self.settings.settings.iter().find(exact);
                self.describe(&format!("{}<NAME>{ending}", group.prefix), variable, present);
            }
        }
    }

    fn describe_passthrough(&mut self, passthrough: &Passthrough) {
        self.line(format_args!("{}<key>, {}", passthrough.prefix, passthrough.extra));
        self.paragraph(&passthrough.doc, "    ");
        let rule =
            "A key holding a dot or a dash is taken as it is; otherwise _ is a dot, __ a dash, ___ an underscore.";
        self.paragraph(rule, "    ");
        self.describe_references(&passthrough.key);
    }

    /// What a passthrough's values may refer to, where they become lines of a file as they are.
    fn describe_references(&mut self, place: &str) {
        let extended = self.package.contract.files.iter().find(|file| file.extend.as_deref() == Some(place));
        let format = extended.and_then(|file| Format::from_name(&file.format));
        self.paragraph(format.and_then(Format::references).unwrap_or_default(), "    ");
    }

    fn describe(&mut self, name: &str, variable: &Variable, present: Option<&Setting>) {
        self.line(format_args!("{name}"));
        self.paragraph(&variable.doc, "    ");
        if let Some(reason) = &variable.ignored {
            return self.line(format_args!("    no effect:  {reason}\n"));
        }
        let accepted = ValueType::of(variable).map(|kind| kind.accepted()).unwrap_or_default();
        let percent = if variable.percent_of.is_some() { ", or a percentage" } else { "" };
        self.line(format_args!("    accepted:   {accepted}{percent}"));
        self.line(format_args!("    default:    {}", default(variable)));
        if variable.takes_file() {
            self.line(format_args!("    also:       {name}_FILE, or the file /run/secrets/{}", name.to_lowercase()));
        }
        if !variable.aliases.is_empty() {
            self.line(format_args!("    old names:  {}", variable.aliases.join(", ")));
        }
        self.line(format_args!("    ends up in: {}", self.destinations(variable)));
        if let Some(setting) = present {
            let shown = if setting.shown.is_empty() { "not set" } else { &setting.shown };
            self.line(format_args!("    now:        {shown} (from: {})", setting.source));
        }
        self.line(format_args!(""));
    }

    /// The files and parts of the contract that use a variable, directly or through values worked out from it.
    fn destinations(&self, variable: &Variable) -> String {
        let contract: &Contract = &self.package.contract;
        let names = reach(&self.package.uses, contract.key_of(variable));
        let uses = |text: &str| Expressions::default().variables(text).is_ok_and(|used| !used.is_disjoint(&names));
        let mut places: Vec<String> = Vec::new();
        if variable.export.is_some() || contract.child.set.values().any(|text| uses(text)) {
            places.push("the service's environment".into());
        }
        if contract.service.command.iter().any(|argument| argument_texts(argument).any(|text| uses(&text))) {
            places.push("the command line".into());
        }
        let template = |file: &File| self.package.files.get(&file.template).map(String::as_str).unwrap_or_default();
        let files = contract.files.iter().filter(|file| uses(template(file)) || uses(&file.path));
        let context = &self.settings.context;
        let path = |file: &File| Expressions::default().text(&file.path, context).unwrap_or_else(|_| file.path.clone());
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

/// A key, and every `let` that is worked out from it.
fn reach(uses: &Uses, key: String) -> HashSet<String> {
    let mut names = HashSet::from([key]);
    for (name, used) in uses {
        if used.iter().any(|used| names.contains(used)) {
            names.insert(name.clone());
        }
    }
    names
}

/// These names, and all that they are worked out from.
pub(crate) fn sources(uses: &Uses, mut names: HashSet<String>) -> HashSet<String> {
    for (name, used) in uses.iter().rev() {
        if names.contains(name) {
            names.extend(used.iter().cloned());
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
