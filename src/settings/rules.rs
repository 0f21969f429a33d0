//! Derived values, and rules across variables.

use tera::Context;

use super::{Loader, Source};
use crate::contract::expression::{Expressions, each_parts};
use crate::contract::{Check, CheckSeverity, Derived};
use crate::report::Problem;
use crate::value::{JsonShape, Value, ValueType};

impl Loader<'_> {
    pub(super) fn work_out_derived(&mut self) {
        for derived in &self.contract.derived {
            let expression = derived.expression();
            // Nothing can be said of what follows from a value that is reported already.
            if self.uses_broken(&expression) {
                self.broken.insert(derived.name.clone());
            }
            match self.derive(derived, &expression) {
                Ok(Some(value)) => {
                    if self.is_unknown(&expression) {
                        self.unknown.insert(derived.name.clone());
                    }
                    self.settings.context.insert_value(derived.name.clone(), value.to_tera());
                }
                Ok(None) => {}
                Err(why) => {
                    self.report_expression(&derived.name, "its value", &expression, &why);
                    self.broken.insert(derived.name.clone());
                }
            }
        }
    }

    fn derive(&mut self, derived: &Derived, expression: &str) -> Result<Option<Value>, String> {
        let text = self.expressions.text(expression, &self.settings.context)?;
        if text.is_empty() {
            return Ok(None);
        }
        if derived.secret {
            self.settings.secrets.push((derived.name.clone(), text.clone()));
        }
        self.keep_secrets_within(&derived.name, &text);
        let kind = derived.kind().filter(|_| !self.is_unknown(expression));
        let Some(kind) = kind else { return Ok(Some(Value::Text(text))) };
        parse_derived(kind, &text).map(Some)
    }

    pub(super) fn check_rules(&mut self) {
        for check in &self.contract.checks {
            let Some(each) = check.each.as_deref().and_then(each_parts) else {
                // Lent rather than cloned, as there are many rules; nothing is added to it on the way.
                let context = std::mem::take(&mut self.settings.context);
                self.check_rule(check, &context);
                self.settings.context = context;
                continue;
            };
            let (item, list) = each;
            let items = Expressions::lookup(&self.settings.context, list);
            for value in items.as_ref().and_then(|items| items.as_array()).unwrap_or(&[]) {
                let mut context = self.settings.context.clone();
                context.insert_value(item.to_owned(), value.clone());
                self.check_rule(check, &context);
            }
        }
    }

    fn check_rule(&mut self, check: &Check, context: &Context) {
        let condition = match &check.when {
            Some(when) => format!("not ({when}) or ({})", check.require),
            None => check.require.clone(),
        };
        match self.expressions.holds(&condition, context) {
            Ok(true) => {}
            Ok(false) if self.depends_on_broken(&condition) || self.is_unknown(&check.require) => {}
            Ok(false) => self.report_rule(check, context),
            Err(_) if self.is_unknown(&condition) => {}
            Err(why) => self.report_expression(&check.variables.join(", "), "a rule", &check.require, &why),
        }
    }

    fn depends_on_broken(&self, condition: &str) -> bool {
        self.uses_broken(&crate::contract::expression::condition_template(condition))
    }

    fn report_rule(&mut self, check: &Check, context: &Context) {
        let text = |expression: &String| self.expressions.text(expression, context).unwrap_or_else(|why| why);
        let variables = check.variables.iter().map(text).collect::<Vec<_>>().join(", ");
        let accepted = check.accepted.as_ref().map(text).unwrap_or_default();
        let message = text(&check.message);
        let problem = match check.severity {
            CheckSeverity::Error => Problem::error(variables, message).accepted(accepted),
            CheckSeverity::Warning => Problem::warning(variables, message).accepted(accepted),
            CheckSeverity::Insecure => {
                Problem::error(variables, message).accepted(format!("{accepted}; DL_ALLOW_INSECURE=1 lets this pass"))
            }
        };
        let problem = Problem { source: self.sources_of(&problem.variable), ..problem };
        match check.severity {
            CheckSeverity::Insecure => self.push_insecure(problem),
            _ => self.problems.push(problem),
        }
    }

    /// Where the values of some variables came from; each by name where they came from different places.
    fn sources_of(&self, variables: &str) -> Option<String> {
        let setting = |name: &str| self.settings.settings.iter().find(|setting| setting.name == name);
        let set = variables.split(", ").filter_map(setting).filter(|setting| setting.source != Source::Unset);
        let sources: Vec<(&str, String)> = set.map(|one| (one.name.as_str(), one.source.to_string())).collect();
        let (_, first) = sources.first()?;
        if sources.iter().all(|(_, source)| source == first) {
            return Some(first.clone());
        }
        Some(sources.iter().map(|(name, source)| format!("{source} ({name})")).collect::<Vec<_>>().join(", "))
    }
}

fn parse_derived(kind: &str, text: &str) -> Result<Value, String> {
    let parsed = match kind {
        "bool" => ValueType::Bool.parse(text),
        "int" | "bytes" | "duration" => ValueType::Int { min: None, max: None }.parse(text),
        "float" => ValueType::Float { min: None, max: None }.parse(text),
        "list" => ValueType::List { item: Box::new(ValueType::Text { pattern: None, accepted: None, min_length: 0 }) }
            .parse(text),
        "json" => ValueType::Json { shape: JsonShape::Any }.parse(text),
        "string" => Ok(Value::Text(text.to_owned())),
        other => return Err(format!("unknown type {other:?}")),
    };
    parsed.map_err(|rejection| rejection.what)
}
