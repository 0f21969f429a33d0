//! Where values go: a variable or `let` names the keys of the service's own files that it is written to, and a
//! template prints them all where it says `{{ properties }}`.
//!
//! Pure. The lines become text of the template, once, where a contract is built in or read: what prints them, escapes
//! them and proves them is the renderer, as for every other line.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::contract::expression::each_parts;
use crate::contract::{Contract, Derived, File, Group, Section, Variable};

/// Formats of files that are keys with one value each.
pub(crate) const KEYED: [&str; 5] = ["properties", "smallrye", "airlift", "postgresql-conf", "env"];

/// A key of a file, where a value goes. Written `"key"` where the key says it all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Property {
    pub key: String,
    /// Its template, up to a dot of the name: `exchange-manager`. Default: the service's main file, which is the first
    /// one that is keys with values; in a group, the first such file with `each` for the group.
    pub file: Option<String>,
    /// Condition: no such line elsewhere.
    pub when: Option<String>,
    /// The first `version` that knows the key, and the first that does not any more.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Filter that writes the value, where `[file.print]` would write it in another way.
    pub print: Option<String>,
    /// Expression that is written instead of the value, even where there is none.
    pub value: Option<String>,
    /// Whether a passthrough of the key is taken for the variable. `false`: it stays a line of its own.
    #[serde(default = "adopted")]
    pub adopt: bool,
}

fn adopted() -> bool {
    true
}

/// One key, `{ key = "…", … }`, or a list of those.
///
/// # Errors
/// It is something else.
pub fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Property>, D::Error> {
    deserializer.deserialize_any(Properties)
}

struct Properties;

impl<'de> Visitor<'de> for Properties {
    type Value = Vec<Property>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key, { key = \"…\" }, or a list of those")
    }

    fn visit_str<E>(self, key: &str) -> Result<Vec<Property>, E> {
        Ok(vec![Property { key: key.to_owned(), adopt: true, ..Property::default() }])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Property>, A::Error> {
        Ok(vec![Property::deserialize(MapAccessDeserializer::new(map))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<Property>, A::Error> {
        #[derive(Deserialize)]
        struct Item(#[serde(deserialize_with = "one_or_more")] Vec<Property>);
        let items = Vec::<Item>::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(items.into_iter().flat_map(|item| item.0).collect())
    }
}

/// A property, and the value that goes there.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'c> {
    pub property: &'c Property,
    pub origin: Origin<'c>,
}

/// The value of a property.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'c> {
    Variable(&'c Variable),
    OfGroup(&'c Group, &'c Variable),
    Derived(&'c Derived),
}

impl Contract {
    /// Every property, in the order declared.
    pub fn destinations(&self) -> impl Iterator<Item = Destination<'_>> {
        let plain = self.variables.iter().map(Origin::Variable);
        let grouped = self
            .groups
            .iter()
            .flat_map(|group| group.variables.iter().map(move |variable| Origin::OfGroup(group, variable)));
        let origins = plain.chain(grouped).chain(self.derived.iter().map(Origin::Derived));
        origins.flat_map(|origin| origin.properties().iter().map(move |property| Destination { property, origin }))
    }

    /// The file of a property.
    pub fn file_of(&self, destination: Destination) -> Option<&File> {
        let is_keyed = |file: &&File| KEYED.contains(&file.format.as_str());
        let list = |file: &File| file.each.as_deref().and_then(each_parts).map(|(_, list)| list.to_owned());
        let mut files = self.files.iter().filter(is_keyed);
        match (&destination.property.file, destination.origin) {
            (Some(name), Origin::OfGroup(group, _)) => {
                files.find(|file| file.is_called(name) && list(file).as_ref() == Some(&group.key))
            }
            (Some(name), _) => files.find(|file| file.is_called(name)),
            (None, Origin::OfGroup(group, _)) => files.find(|file| list(file).as_ref() == Some(&group.key)),
            (None, _) => files.find(|file| file.each.is_none()),
        }
    }

    /// The properties of a template, whichever of its files they are in.
    pub fn destinations_in<'c>(&'c self, template: &'c str) -> impl Iterator<Item = Destination<'c>> {
        let of_it = move |one: &Destination| self.file_of(*one).is_some_and(|file| file.template == template);
        self.destinations().filter(of_it)
    }

    /// A template with its properties as lines.
    pub fn with_properties<'t>(&self, template: &str, text: &'t str) -> Cow<'t, str> {
        let file = self.files.iter().find(|file| file.template == template);
        let Some(file) = file.filter(|_| text.lines().any(|line| place(line).is_some())) else { return text.into() };
        let places: Vec<&str> = text.lines().filter_map(place).collect();
        let lines: Vec<Line> = self.destinations_in(template).map(|one| Line::of(self, file, one, &places)).collect();
        let printed = |line: &str| match place(line) {
            Some(place) => blocks(lines.iter().filter(|line| line.place == place)),
            None => format!("{line}\n"),
        };
        text.lines().map(printed).collect::<String>().into()
    }

    /// Mistakes in properties, each with a word of the contract near it.
    pub(super) fn mistakes_in_properties(&self) -> Vec<(String, String)> {
        let mistakes = self.destinations().filter_map(|one| {
            let key = &one.property.key;
            let what = match self.file_of(one) {
                _ if key.is_empty() || !key.bytes().all(is_plain) => "is not a key that a file can have as it is",
                None => "goes into no file: `[[file]]` has none of that name with keys and values",
                Some(file) => one.cannot_be_printed(file)?,
            };
            Some((key.clone(), format!("the property {key} {what}")))
        });
        let idle = |origin: &Origin| origin.when().is_some() && origin.properties().is_empty();
        let origins = self.variables.iter().map(Origin::Variable).chain(self.derived.iter().map(Origin::Derived));
        let idle = origins
            .filter(idle)
            .map(|origin| (origin.key(self).into_owned(), format!("{}: `when` is for a property", origin.key(self))));
        mistakes.chain(idle).collect()
    }
}

/// Bytes of a key that mean themselves in every format, and to Tera.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-\"$/@*[]".contains(&byte)
}

/// The place of properties that a line of a template is: the name of a section, or nothing for all others.
pub(super) fn place(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix("{{ properties")?.strip_suffix(" }}")?;
    if name.is_empty() { Some("") } else { name.strip_prefix('.') }
}

impl File {
    fn is_called(&self, name: &str) -> bool {
        self.template.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The sections that a key is in.
    fn sections_of(&self, key: &str) -> impl Iterator<Item = &Section> {
        let has = move |section: &&Section| section.keys.iter().any(|start| key.starts_with(start.as_str()));
        self.sections.iter().filter(has)
    }
}

impl<'c> Origin<'c> {
    fn properties(self) -> &'c [Property] {
        match self {
            Origin::Variable(variable) | Origin::OfGroup(_, variable) => &variable.properties,
            Origin::Derived(derived) => &derived.properties,
        }
    }

    fn when(self) -> Option<&'c String> {
        match self {
            Origin::Variable(variable) | Origin::OfGroup(_, variable) => variable.when.as_ref(),
            Origin::Derived(derived) => derived.when.as_ref(),
        }
    }

    fn kind(self) -> &'c str {
        match self {
            Origin::Variable(variable) | Origin::OfGroup(_, variable) => &variable.kind,
            Origin::Derived(derived) => derived.kind().unwrap_or("string"),
        }
    }

    fn key(self, contract: &Contract) -> Cow<'c, str> {
        match self {
            Origin::Variable(variable) => contract.key_of(variable),
            Origin::OfGroup(_, variable) => Group::key_of(variable),
            Origin::Derived(derived) => derived.name.as_str().into(),
        }
    }

    /// Whether there is a value in every sound environment.
    fn always_has_a_value(self) -> bool {
        match self {
            Origin::Variable(variable) | Origin::OfGroup(_, variable) => {
                let default = variable.default.as_ref().map(|default| default.0.as_str());
                variable.required || default.is_some_and(|text| !text.is_empty() && !text.contains('{'))
            }
            Origin::Derived(derived) => derived.holds.is_some(),
        }
    }
}

impl Destination<'_> {
    /// The name of the value in the file's template.
    pub fn name(&self, contract: &Contract, file: &File) -> String {
        let key = self.origin.key(contract);
        match (self.origin, file.each.as_deref().and_then(each_parts)) {
            (Origin::OfGroup(..), Some((item, _))) => format!("{item}.{key}"),
            _ => key.into_owned(),
        }
    }

    /// The expression that prints the value.
    pub fn expression(&self, contract: &Contract, file: &File) -> String {
        let name = self.name(contract, file);
        let print = &file.print;
        let by = |filter: &Option<String>| match filter {
            Some(filter) => format!("{{{{ {name} | {filter} }}}}"),
            None => format!("{{{{ {name} }}}}"),
        };
        match self.origin.kind() {
            _ if self.property.value.is_some() => self.property.value.clone().unwrap_or_default(),
            _ if self.property.print.is_some() => by(&self.property.print),
            "datasize" | "jvmsize" | "bytes" => by(&print.size),
            "duration" => by(&print.duration),
            "json" => by(&Some("json".into())),
            "list" | "words" => by(&Some(format!("join(sep={:?})", print.list.as_deref().unwrap_or(",")))),
            "bool" => match &print.boolean {
                Some([yes, no]) => format!("{{% if {name} %}}{yes}{{% else %}}{no}{{% endif %}}"),
                None => by(&None),
            },
            _ => by(&None),
        }
    }

    fn cannot_be_printed(&self, file: &File) -> Option<&'static str> {
        match self.origin.kind() {
            _ if self.property.print.is_some() || self.property.value.is_some() => None,
            "datasize" | "jvmsize" | "bytes" if file.print.size.is_none() => {
                Some("is a size: `size` of [file.print] says how one is written in its file")
            }
            "duration" if file.print.duration.is_none() => {
                Some("is a duration: `duration` of [file.print] says how one is written in its file")
            }
            _ => None,
        }
    }

    /// The conditions under which the line stands in the file, whatever its value.
    pub fn conditions(&self, file: &File) -> Vec<String> {
        let sections = file.sections_of(&self.property.key).filter_map(|section| section.when.clone());
        sections.chain(self.own_conditions()).collect()
    }

    /// Those that are not a section's.
    pub fn own_conditions(&self) -> Vec<String> {
        let Property { since, until, when, .. } = self.property;
        let since = since.iter().map(|version| from(version));
        let until = until.iter().map(|version| format!("not ({})", from(version)));
        self.origin.when().into_iter().chain(when).cloned().chain(since).chain(until).collect()
    }
}

/// The condition of this version and newer ones.
pub(super) fn from(version: &str) -> String {
    format!("version | since(version={version:?})")
}

/// A property as a line of a template.
struct Line<'p> {
    /// Name of the section that the template prints it with.
    place: &'p str,
    conditions: Vec<String>,
    text: String,
}

impl<'p> Line<'p> {
    fn of(contract: &Contract, file: &File, one: Destination, places: &[&'p str]) -> Line<'p> {
        let Destination { property, origin } = one;
        let sections: Vec<&str> = file.sections_of(&property.key).filter_map(|one| one.name.as_deref()).collect();
        let place = places.iter().copied().find(|place| sections.contains(place)).unwrap_or_default();
        let separator = if file.format == "postgresql-conf" { " = " } else { "=" };
        let line = format!("{}{separator}{}\n", property.key, one.expression(contract, file));
        let name = one.name(contract, file);
        let text = match origin.kind() {
            _ if property.value.is_some() || origin.always_has_a_value() => line,
            "list" | "words" => only_if(&name, &line),
            _ => only_if(&format!("{name} is defined"), &line),
        };
        Line { place, conditions: one.conditions(file), text }
    }
}

/// Lines, those in a row with the same conditions together.
fn blocks<'l>(lines: impl Iterator<Item = &'l Line<'l>>) -> String {
    let lines: Vec<&Line> = lines.collect();
    let block = |lines: &[&Line]| {
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        match &lines[0].conditions[..] {
            [] => text,
            [one] => only_if(one, &text),
            several => only_if(&format!("({})", several.join(") and (")), &text),
        }
    };
    lines.chunk_by(|one, next| one.conditions == next.conditions).map(block).collect()
}

fn only_if(condition: &str, text: &str) -> String {
    format!("{{% if {condition} %}}{text}{{% endif %}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::format::Format;

    const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "x"
        command = ["/bin/true"]
        [[env]]
        name = "DEMO_PORT"
        type = "port"
        default = 8080
        property = "http.port"
        doc = "x"
        [[env]]
        name = "DEMO_MEMORY"
        type = "datasize"
        property = "query.memory"
        when = "coordinates"
        doc = "x"
        [[env]]
        name = "DEMO_TIME"
        type = "duration"
        property = ["query.time", { key = "query.seconds", print = "seconds", when = "old", until = "2" }]
        when = "coordinates"
        doc = "x"
        [[env]]
        name = "DEMO_HOSTS"
        type = "list"
        of = "host"
        property = "tls.hosts"
        doc = "x"
        [[env]]
        name = "DEMO_LOUD"
        type = "bool"
        property = [{ key = "loud", file = "log" }, { key = "volume", file = "log", value = "{{ port + 1 }}" }]
        doc = "x"
        [[group]]
        name = "catalog"
        key = "catalogs"
        prefix = "DEMO_CATALOG_"
        doc = "x"
        [[group.env]]
        name = "KIND"
        type = "string"
        required = true
        property = "kind"
        doc = "x"
        [[let]]
        name = "coordinates"
        holds = "port == 1"
        property = "coordinates"
        [[let]]
        name = "old"
        holds = "port == 2"
        [[file]]
        template = "args.tera"
        path = "/args"
        format = "jvm-options"
        [[file]]
        template = "demo.properties.tera"
        path = "/demo"
        format = "airlift"
        print = { size = "datasize", duration = "duration" }
        [[file.section]]
        name = "tls"
        keys = ["tls."]
        when = "coordinates"
        [[file]]
        template = "log.conf.tera"
        path = "/log"
        format = "postgresql-conf"
        print = { boolean = ["on", "off"] }
        [[file]]
        template = "catalog.tera"
        path = "/catalog"
        format = "properties"
        each = "one in catalogs"
    "#;

    fn contract() -> Contract {
        let contract = Contract::from_toml(CONTRACT).unwrap();
        assert_eq!(contract.mistakes(), []);
        contract
    }

    #[test]
    fn properties_are_lines_in_the_order_declared_under_their_conditions() {
        let text = contract().with_properties("demo.properties.tera", "# a\n{{ properties }}\nb=1\n").into_owned();
        let expected = "# a\nhttp.port={{ port }}\n\
            {% if coordinates %}{% if memory is defined %}query.memory={{ memory | datasize }}\n{% endif %}\
            {% if time is defined %}query.time={{ time | duration }}\n{% endif %}{% endif %}\
            {% if (coordinates) and (old) and (not (version | since(version=\"2\"))) %}\
            {% if time is defined %}query.seconds={{ time | seconds }}\n{% endif %}{% endif %}\
            {% if coordinates %}{% if hosts %}tls.hosts={{ hosts | join(sep=\",\") }}\n{% endif %}{% endif %}\
            coordinates={{ coordinates }}\nb=1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_section_is_printed_where_the_template_names_it() {
        let text = contract().with_properties("demo.properties.tera", "{{ properties.tls }}\n#\n{{ properties }}\n");
        let (section, others) = text.split_once("#\n").unwrap();
        assert!(section.contains("tls.hosts=") && !others.contains("tls.hosts="), "{text}");
    }

    #[test]
    fn another_file_and_the_file_of_a_group_have_properties_of_their_own() {
        let text = contract().with_properties("log.conf.tera", "{{ properties }}").into_owned();
        let loud = "{% if loud is defined %}loud = {% if loud %}on{% else %}off{% endif %}\n{% endif %}";
        assert_eq!(text, format!("{loud}volume = {{{{ port + 1 }}}}\n"));
        assert_eq!(contract().with_properties("catalog.tera", "{{ properties }}"), "kind={{ one.kind }}\n");
        assert_eq!(contract().with_properties("args.tera", "-Xmx1g"), "-Xmx1g");
    }

    #[test]
    fn a_property_that_cannot_be_printed_is_a_mistake() {
        for (old, new, mistake) in [
            ("\"http.port\"", "\"http port\"", "the property http port is not a key that a file can have as it is"),
            (
                "key = \"loud\", file = \"log\"",
                "key = \"loud\", file = \"lo\"",
                "the property loud goes into no file: `[[file]]` has none of that name with keys and values",
            ),
            (
                "size = \"datasize\", ",
                "",
                "the property query.memory is a size: `size` of [file.print] says how one is written in its file",
            ),
            ("property = \"query.memory\"", "", "memory: `when` is for a property"),
        ] {
            let contract = Contract::from_toml(&CONTRACT.replace(old, new)).unwrap();
            let mistakes: Vec<String> = contract.mistakes().into_iter().map(|(_, mistake)| mistake).collect();
            assert_eq!(mistakes, [mistake]);
        }
    }

    #[test]
    fn formats_with_keys_are_those_of_the_renderer() {
        let keyed: Vec<&str> = Format::ALL.into_iter().filter(|one| one.has_keys()).map(Format::name).collect();
        assert_eq!(keyed, KEYED);
    }
}
