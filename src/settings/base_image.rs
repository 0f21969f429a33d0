//! The `ENV` of known base images: not a setting of the operator, and never an error.
//!
//! An image built FROM another inherits its `ENV`. A variable that still has the value the image gave it is as good as
//! unset, but for the name of a secret file that is there and that nothing else says.

use super::Loader;
use crate::contract::Variable;

impl Loader<'_> {
    pub(super) fn drop_base_image(&mut self) {
        for image in &self.contract.base_images {
            for (name, value) in &image.set {
                let same = self.environment.get(name).is_some_and(|text| text == value.as_str());
                if same && !self.names_a_secret(name, value) {
                    self.environment.remove(name);
                }
            }
        }
    }

    fn names_a_secret(&self, name: &str, file: &str) -> bool {
        let Some(variable) = name.strip_suffix("_FILE").and_then(|stem| self.variable_of_file(stem)) else {
            return false;
        };
        let mut names = std::iter::once(&variable.name).chain(&variable.aliases);
        let told = names.any(|name| self.environment.get(name).is_some_and(|text| !text.is_empty()));
        // Of another machine's files only those are taken to be there that it cannot do without.
        let needed = variable.required || variable.required_if.is_some();
        let secrets = &self.options.secrets;
        !told && if secrets.must_exist { secrets.named(file).exists() } else { needed }
    }

    fn variable_of_file(&self, stem: &str) -> Option<&Variable> {
        let called = |variable: &&Variable| variable.name == stem || variable.aliases.iter().any(|alias| alias == stem);
        self.contract.variables.iter().filter(|variable| variable.takes_file()).find(called)
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::Contract;
    use crate::environment::{Environment, SecretFiles};
    use crate::settings::{Options, load, tests::options};

    const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "A demonstration"
        prefixes = ["DEMO_"]
        command = ["/bin/demo"]
        [[env]]
        name = "DEMO_USER"
        type = "string"
        file = true
        default = "admin"
        aliases = ["DEMO_KEY"]
        doc = "User."
        [[base-image]]
        name = "demo/demo"
        set = { DEMO_USER_FILE = "user", DEMO_KEY_FILE = "user", DEMO_UPDATES = "off" }
    "#;

    fn user(pairs: &[(&str, &str)], folder: &std::path::Path) -> (Option<String>, usize) {
        let contract = Contract::from_toml(CONTRACT).unwrap();
        let secrets = SecretFiles { directory: Some(folder.to_owned()), must_exist: true };
        let options = Options { secrets, ..options() };
        let (settings, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), &options);
        let errors = problems.iter().filter(|problem| !problem.message.contains("old or foreign name")).count();
        (settings.context.get("user").and_then(|user| user.as_str()).map(str::to_owned), errors)
    }

    #[test]
    fn what_a_base_image_sets_is_nobodys_setting_unless_the_secret_is_there() {
        let folder = std::env::temp_dir().join(format!("dl-entry-base-image-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let image = [("DEMO_USER_FILE", "user"), ("DEMO_KEY_FILE", "user"), ("DEMO_UPDATES", "off")];
        assert_eq!(user(&image, &folder), (Some("admin".into()), 0));
        assert_eq!(user(&[&image[..], &[("DEMO_KEY", "anna")]].concat(), &folder), (Some("anna".into()), 0));
        std::fs::write(folder.join("user"), "bert").unwrap();
        assert_eq!(user(&image, &folder), (Some("bert".into()), 0));
        assert_eq!(user(&[&image[..], &[("DEMO_KEY", "anna")]].concat(), &folder), (Some("anna".into()), 0));
        assert_eq!(user(&[("DEMO_UPDATES", "on")], &folder).1, 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
