use super::*;

pub(crate) fn options() -> Options {
    Options {
        strict: false,
        allow_insecure: false,
        check_files: false,
        starting: false,
        secrets: SecretFiles { directory: None, must_exist: false },
        run_dir: "/run/dl".into(),
        arguments: vec![],
        container: Container {
            memory: 4 << 30,
            memory_limited: true,
            cpus: 2.0,
            hostname: "box".into(),
            address: "10.0.0.7".into(),
            uid: 1000,
            gid: 1000,
            architecture: "amd64".into(),
        },
    }
}

const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "A demonstration"
        prefixes = ["DEMO_"]
        command = ["/bin/demo"]

        [alias]
        OLD_LAKE_URI = "DEMO_CATALOG_LAKE_URI"

        [[env]]
        name = "DEMO_PORT"
        type = "port"
        default = 8080
        doc = "Port."

        [[env]]
        name = "DEMO_PASSWORD"
        type = "secret"
        min-length = 8
        required = true
        aliases = ["LEGACY_PASSWORD"]
        doc = "Password."

        [[env]]
        name = "DEMO_GRACE"
        type = "duration"
        doc = "Grace."

        [[env]]
        name = "DEMO_HEAP"
        type = "jvmsize"
        min = "64m"
        default = "{{ container.memory | fraction(of=0.5) | jvmsize }}"
        percent-of = "{{ container.memory }}"
        doc = "Heap."

        [[env]]
        name = "DEMO_PART"
        type = "bytes"
        percent-of = "{{ heap }}"
        doc = "Part of the heap."

        [[env]]
        name = "DEMO_CATALOGS_NAMED"
        type = "string"
        doc = "Catalogs there are."

        [[env]]
        name = "DEMO_PIN"
        type = "int"
        file = true
        doc = "Pin."

        [[env]]
        name = "DEMO_CACHE"
        type = "string"
        ignored = "the cache is gone since 2023"
        doc = "Cache."

        [[group]]
        name = "catalog"
        key = "catalogs"
        prefix = "DEMO_CATALOG_"
        passthrough = "properties"
        always = "{{ catalogs_named | default(value='') }}"
        doc = "Catalogs."
        [[group.env]]
        name = "URI"
        type = "url"
        schemes = ["http"]
        doc = "URI."
        [[group.env]]
        name = "NESSIE_URI"
        type = "url"
        schemes = ["http"]
        doc = "URI of Nessie."
        [[group.env]]
        name = "SECRET_KEY"
        type = "secret"
        doc = "Key."

        [[passthrough]]
        key = "config"
        prefix = "DEMO_CONFIG__"
        extra = "DEMO_CONFIG_EXTRA"
        doc = "Any key."

        [[let]]
        name = "double"
        type = "int"
        value = "{{ port * 2 }}"

        [[let]]
        name = "pin_again"
        type = "int"
        value = "{% if pin is defined %}{{ pin }}{% endif %}"

        [[check]]
        when = "pin_again"
        require = "pin_again < 1000"
        variables = ["DEMO_PIN"]
        message = "is too high"

        [[check]]
        require = "grace is not defined or grace != 9000"
        variables = ["DEMO_PORT", "DEMO_GRACE"]
        message = "do not go together"

        [[check]]
        when = "grace"
        require = "not pin"
        variables = ["DEMO_GRACE"]
        message = "needs no pin"

        [[check]]
        require = "port != 9000"
        variables = ["DEMO_PORT"]
        message = "is {{ port }}, which the console uses"
        accepted = "another port"
    "#;

fn run(pairs: &[(&str, &str)], options: &Options) -> (Settings, Vec<String>) {
    let contract = Contract::from_toml(CONTRACT).unwrap();
    let (settings, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), options);
    let lines = problems.iter().map(|problem| {
        format!("{}: {} {}", crate::report::severity_name(problem.severity), problem.variable, problem.message)
    });
    (settings, lines.collect())
}

/// Settings of a contract and an environment, and its problems as the variable and the message.
pub(super) fn loaded(contract: &str, pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let contract = Contract::from_toml(contract).unwrap();
    let (settings, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), &options());
    (settings, problems.iter().map(|problem| format!("{} {}", problem.variable, problem.message)).collect())
}

fn number(settings: &Settings, key: &str) -> Option<u64> {
    settings.context.get(key).and_then(tera::Value::as_u64)
}

const GOOD: (&str, &str) = ("DEMO_PASSWORD", "correct horse");

#[test]
fn defaults_derived_values_and_provenance_come_out() {
    let (settings, problems) = run(&[GOOD, ("DEMO_GRACE", "1h30m")], &options());
    assert_eq!(problems, [""; 0]);
    assert_eq!(number(&settings, "port"), Some(8080));
    assert_eq!(number(&settings, "double"), Some(16160));
    assert_eq!(number(&settings, "heap"), Some(2 << 30));
    assert_eq!(number(&settings, "grace"), Some(5_400_000));
    let password = settings.settings.iter().find(|setting| setting.name == "DEMO_PASSWORD").unwrap();
    assert_eq!((password.shown.as_str(), &password.source), ("‹redacted›", &Source::Environment));
    assert_eq!(settings.secrets, [("DEMO_PASSWORD".to_owned(), "correct horse".to_owned())]);
}

/// Behaviours: 85, 87.
#[test]
fn every_problem_is_reported_in_one_run() {
    let pairs =
        [("DEMO_PORT", "99999"), ("DEMO_GRACE", "60"), ("DEMO_HEAP", "120%"), ("DEMO_CACHE", "x"), ("DEMO_PROT", "1")];
    let (_, problems) = run(&pairs, &options());
    assert_eq!(
        problems,
        [
            "error: DEMO_PORT is not a port",
            "error: DEMO_PASSWORD is required",
            "error: DEMO_GRACE is a duration without its unit",
            "error: DEMO_HEAP is not a percentage, 0% to 100%",
            "warning: DEMO_CACHE has no effect: the cache is gone since 2023",
            "warning: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?",
        ]
    );
}

#[test]
fn a_percentage_is_held_to_the_bounds_of_its_size() {
    let (settings, problems) = run(&[GOOD, ("DEMO_HEAP", " 33.3 %")], &options());
    assert_eq!(problems, [""; 0]);
    assert_eq!(number(&settings, "heap"), Some(1363 << 20));
    for (text, why) in [
        ("1%", "amounts to 40m, outside the allowed range"),
        ("0%", "amounts to 0, outside the allowed range"),
        ("1e1%", "is not a percentage, 0% to 100%"),
        ("+10%", "is not a percentage, 0% to 100%"),
        ("%", "is not a percentage, 0% to 100%"),
    ] {
        assert_eq!(run(&[GOOD, ("DEMO_HEAP", text)], &options()).1, [format!("error: DEMO_HEAP {why}")]);
    }
}

#[test]
fn a_percentage_of_what_is_wrong_is_not_a_second_problem() {
    let (settings, problems) = run(&[GOOD, ("DEMO_HEAP", "8"), ("DEMO_PART", "30%")], &options());
    assert_eq!(problems, ["error: DEMO_HEAP is a size without its unit"]);
    assert_eq!(number(&settings, "part"), None);
}

#[test]
fn a_default_that_is_out_of_range_names_the_memory_it_is_a_part_of() {
    let mut small = options();
    small.container.memory = 100 << 20;
    let (_, problems) = run(&[GOOD], &small);
    let expected = "DEMO_HEAP is out of range: its default is a part of the container's memory limit, 100MiB";
    assert_eq!(problems, [format!("error: {expected}")]);
}

#[test]
fn an_empty_variable_is_unset() {
    let (settings, problems) = run(&[GOOD, ("DEMO_PORT", ""), ("DEMO_PROT", "")], &options());
    assert_eq!(problems, [""; 0]);
    assert_eq!(number(&settings, "port"), Some(8080));
}

/// Behaviours: 87.
#[test]
fn old_names_are_used_with_a_notice_and_conflicts_are_errors() {
    let (_, problems) = run(&[("LEGACY_PASSWORD", "correct horse")], &options());
    assert_eq!(problems, ["notice: LEGACY_PASSWORD is an old or foreign name: taken as DEMO_PASSWORD"]);
    let (_, problems) = run(&[GOOD, ("LEGACY_PASSWORD", "another horse")], &options());
    let conflict = "error: LEGACY_PASSWORD, DEMO_PASSWORD are two names of one setting and have different values";
    assert_eq!(problems, [conflict]);
    let (_, problems) = run(&[GOOD, ("LEGACY_PASSWORD", GOOD.1)], &options());
    assert_eq!(problems, [""; 0]);
}

#[test]
fn known_and_short_secrets_are_errors_that_can_be_allowed() {
    for (bad, why) in [
        ("minioadmin", "is not a safe secret: it is a well-known default"),
        ("CHANGE_ME_SECURE_PASSWORD", "is not a safe secret: it is a placeholder"),
        ("prefix_$(openssl rand -hex 12)", "contains a reference that nothing expanded, ${…} or $(…)"),
        ("short", "is shorter than a secret must be"),
    ] {
        let (_, problems) = run(&[("DEMO_PASSWORD", bad)], &options());
        assert_eq!(problems, [format!("error: DEMO_PASSWORD {why}")]);
        let (_, problems) = run(&[("DEMO_PASSWORD", bad)], &Options { allow_insecure: true, ..options() });
        assert_eq!(problems, [format!("warning: DEMO_PASSWORD {why}")]);
    }
}

/// Behaviours: 82.
#[test]
fn a_secret_and_its_file_together_are_an_error() {
    let (_, problems) = run(&[GOOD, ("DEMO_PASSWORD_FILE", "/run/secrets/x")], &options());
    assert_eq!(problems, ["error: DEMO_PASSWORD, DEMO_PASSWORD_FILE are both set"]);
    let (settings, problems) = run(&[("DEMO_PASSWORD_FILE", "/run/secrets/x")], &options());
    assert_eq!(problems, [""; 0], "the file of another machine is taken to be there");
    assert_eq!(settings.settings[1].source, Source::File("/run/secrets/x".into()));
}

#[test]
fn nothing_is_said_of_a_secret_that_is_on_another_machine() {
    let here = std::env::temp_dir().join(format!("dl-entry-settings-{}", std::process::id()));
    std::fs::write(&here, "changeme").unwrap();
    let (settings, problems) = run(&[("DEMO_PASSWORD_FILE", here.to_str().unwrap())], &options());
    std::fs::remove_file(&here).unwrap();
    assert_eq!(problems, [""; 0], "this machine's file is not that machine's");
    assert!(settings.context.get("password").unwrap().as_str().unwrap().starts_with("‹the content of /"));
    // A number, a rule about it and one about whether it is there.
    let (_, problems) = run(&[GOOD, ("DEMO_PIN_FILE", "/run/pin")], &options());
    assert_eq!(problems, [""; 0]);
    let (_, problems) = run(&[GOOD, ("DEMO_PIN", "4711")], &options());
    assert_eq!(problems, ["error: DEMO_PIN is too high"]);
    let (_, problems) = run(&[GOOD, ("DEMO_PIN_FILE", "/run/pin"), ("DEMO_GRACE", "1s")], &options());
    assert_eq!(problems, ["error: DEMO_GRACE needs no pin"]);
}

#[test]
fn what_is_said_of_an_old_name_names_what_was_set() {
    let (_, problems) = run(&[("LEGACY_PASSWORD", GOOD.1), ("DEMO_PASSWORD_FILE", "/x")], &options());
    assert_eq!(problems[1..], ["error: LEGACY_PASSWORD, DEMO_PASSWORD_FILE are both set"]);
}

#[test]
fn groups_are_found_by_their_longest_ending_and_by_old_names() {
    let pairs = [
        GOOD,
        ("DEMO_CATALOG_MY_LAKE_NESSIE_URI", "http://n"),
        ("DEMO_CATALOG_MY_LAKE__hive.key-x", "1"),
        ("DEMO_CATALOG_MY_LAKE__a_b__c", "2"),
        ("DEMO_CATALOG_MY_LAKE_SECRET_KEY_FILE", "/s"),
        ("OLD_LAKE_URI", "http://old"),
        ("DEMO_CATALOG_MY_LAKE_URL", "http://typo"),
    ];
    let (settings, problems) = run(&pairs, &options());
    assert_eq!(
        problems,
        [
            "notice: OLD_LAKE_URI is an old or foreign name: taken as DEMO_CATALOG_LAKE_URI",
            "warning: DEMO_CATALOG_MY_LAKE_URL is not a variable of demo and has no effect",
        ]
    );
    let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
    assert_eq!(catalogs[0]["name"], "lake");
    assert_eq!(catalogs[0]["uri"], "http://old");
    assert_eq!(catalogs[1]["name"], "my_lake");
    assert_eq!(catalogs[1]["nessie_uri"], "http://n");
    assert_eq!(catalogs[1]["properties"], serde_json::json!({"hive.key-x": "1", "a.b-c": "2"}));
    assert_eq!(catalogs[1]["secret_key"], "‹the content of /s›");
}

#[test]
fn a_name_is_never_its_own_correction() {
    let (_, problems) = run(&[GOOD, ("DEMO_CATALOG__URI", "http://a")], &options());
    assert_eq!(problems, ["warning: DEMO_CATALOG__URI is not a variable of demo and has no effect"]);
}

#[test]
fn a_rule_says_where_the_values_came_from() {
    let contract = Contract::from_toml(CONTRACT).unwrap();
    let sources = |pairs: &[(&str, &str)]| {
        let (_, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), &options());
        problems.into_iter().map(|problem| problem.source).collect::<Vec<_>>()
    };
    assert_eq!(sources(&[GOOD, ("DEMO_PORT", "9000")]), [Some("environment".to_owned())]);
    let sum = [GOOD, ("DEMO_PORT", "9001"), ("DEMO_GRACE", "9s")];
    assert_eq!(sources(&sum), [Some("environment".to_owned())]);
    let with_default = [GOOD, ("DEMO_GRACE", "9s")];
    assert_eq!(sources(&with_default), [Some("default (DEMO_PORT), environment (DEMO_GRACE)".to_owned())]);
}

#[test]
fn two_spellings_of_one_item_are_an_error() {
    let pairs = [GOOD, ("DEMO_CATALOG_LAKE_URI", "http://a"), ("DEMO_CATALOG_lake_URI", "http://b")];
    let (settings, problems) = run(&pairs, &options());
    assert_eq!(problems, ["error: DEMO_CATALOG_lake_URI spells lake in another way than DEMO_CATALOG_LAKE_…"]);
    let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
    assert_eq!(catalogs.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_declared_item_is_spelt_as_its_variables_spell_it() {
    let items = |pairs: &[(&str, &str)]| {
        let (settings, problems) = run(&[&[GOOD], pairs].concat(), &options());
        assert_eq!(problems, [""; 0]);
        let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
        let text = |catalog: &serde_json::Value, key: &str| catalog[key].as_str().unwrap_or("-").to_owned();
        let catalogs = catalogs.as_array().unwrap().iter();
        catalogs.map(|one| ["name", "spelling", "uri"].map(|key| text(one, key)).join(" ")).collect::<Vec<_>>()
    };
    let named = |names| ("DEMO_CATALOGS_NAMED", names);
    assert_eq!(items(&[named("my-cat")]), ["my-cat MY_CAT -"]);
    assert_eq!(items(&[named("my-cat"), ("DEMO_CATALOG_MY_CAT_URI", "http://a")]), ["my-cat MY_CAT http://a"]);
    assert_eq!(items(&[("DEMO_CATALOG_MY-CAT_URI", "http://a")]), ["my-cat MY-CAT http://a"]);
    assert_eq!(items(&[named("sales"), ("DEMO_CATALOG_sales_URI", "http://a")]), ["sales sales http://a"]);
    assert_eq!(items(&[named("a-b,a_b"), ("DEMO_CATALOG_A_B_URI", "http://a")]), ["a-b A-B -", "a_b A_B http://a"]);
    assert_eq!(items(&[named("a-b, a_b")]), ["a-b A-B -", "a_b A_B -"]);
}

#[test]
fn passthrough_keys_follow_one_rule_and_extra_lines_join_them() {
    let pairs = [GOOD, ("DEMO_CONFIG__a_b", "1"), ("DEMO_CONFIG_EXTRA", "# x\nc.d-e=2\n")];
    let (settings, problems) = run(&pairs, &options());
    assert_eq!(problems, [""; 0]);
    let config = serde_json::to_value(settings.context.get("config").unwrap()).unwrap();
    assert_eq!(config, serde_json::json!({"a.b": "1", "c.d-e": "2"}));
}

#[test]
fn keys_with_underscores_are_given_by_prefix_by_name_or_in_apostrophes() {
    let contract = "[service]\nname = \"demo\"\nsummary = \"x\"\ncommand = [\"x\"]\n\
        [[env]]\nname = \"DEMO_PORT\"\ntype = \"int\"\naliases = [\"port\"]\ndoc = \"x\"\n\
        [[passthrough]]\nkey = \"config\"\nprefix = \"DEMO_CONFIG__\"\nextra = \"DEMO_EXTRA\"\nunderscores = true\n\
        key-prefixes = [\"DEMO_\", \"DEM_\"]\nkeys = [\"work_mem\", \"a.b_c\"]\ndoc = \"x\"\n";
    let pairs = [
        ("DEMO_CONFIG__MAX_X", "1"),
        ("DEMO_CONFIG__stat__max", "2"),
        ("DEM_WORK_MEM", "3"),
        ("DEMO_A_B_C", "4"),
        ("DEMO_EXTRA", "Log_Line = '%m it''s'\nport = '7'\n"),
    ];
    let (settings, problems) = loaded(contract, &pairs);
    assert_eq!(problems, ["DEMO_EXTRA sets port: taken as DEMO_PORT"]);
    let config = serde_json::to_value(settings.context.get("config").unwrap()).unwrap();
    let expected =
        serde_json::json!({"max_x": "1", "stat.max": "2", "work_mem": "3", "a.b_c": "4", "log_line": "%m it's"});
    assert_eq!((config, number(&settings, "port")), (expected, Some(7)));
}

#[test]
fn a_secret_file_named_like_an_old_name_is_the_variables() {
    let folder = std::env::temp_dir().join(format!("dl-entry-old-secret-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app_password"), "Xq7neutral3App\n").unwrap();
    let contract = "[service]\nname = \"demo\"\nsummary = \"x\"\ncommand = [\"x\"]\n\
        [alias]\nAPP_PASSWORD = \"DEMO_ROLE_APP_PASSWORD\"\n\
        [[group]]\nname = \"role\"\nkey = \"roles\"\nprefix = \"DEMO_ROLE_\"\ndoc = \"x\"\n\
        [[group.env]]\nname = \"PASSWORD\"\ntype = \"secret\"\ndoc = \"x\"\n";
    let contract = Contract::from_toml(contract).unwrap();
    let secrets = SecretFiles { directory: Some(folder.clone()), must_exist: true };
    let options = Options { secrets, ..options() };
    let (settings, _) = load(&contract, &Environment::from_pairs([("PATH", "/bin")]), &options);
    let roles = serde_json::to_value(settings.context.get("roles").unwrap()).unwrap();
    assert_eq!((&roles[0]["name"], &roles[0]["password"]), (&"app".into(), &"Xq7neutral3App".into()));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_passthrough_key_in_two_places_is_an_error_unless_they_agree() {
    let both = |one, other| {
        run(&[GOOD, ("DEMO_CONFIG__a__b", one), ("DEMO_CONFIG__a-b", other), ("DEMO_CONFIG_EXTRA", "c=1")], &options())
    };
    let (_, problems) = both("1h", "2h");
    assert_eq!(problems, ["error: DEMO_CONFIG__a__b sets a-b, which DEMO_CONFIG__a-b sets differently"]);
    let (settings, problems) = both("1h", "1h");
    assert_eq!(problems, [""; 0]);
    assert_eq!(settings.additions["config"]["c"].variable, "DEMO_CONFIG_EXTRA");
    let pairs = [GOOD, ("DEMO_CONFIG__a.b", "1"), ("DEMO_CONFIG_EXTRA", "a.b=2")];
    let (_, problems) = run(&pairs, &options());
    assert_eq!(problems, ["error: DEMO_CONFIG_EXTRA sets a.b, which DEMO_CONFIG__a.b sets differently"]);
}

#[test]
fn a_passthrough_key_named_like_a_secret_is_never_shown() {
    let pairs = [GOOD, ("DEMO_CONFIG__mail.password", "hunter22"), ("DEMO_CONFIG_EXTRA", "x.token=abcdefgh")];
    let (settings, _) = run(&pairs, &options());
    let shown = settings.settings.iter().find(|setting| setting.key == "mail.password").unwrap();
    assert_eq!((shown.shown.as_str(), shown.secret), ("‹redacted›", true));
    for secret in [("DEMO_CONFIG__mail.password", "hunter22"), ("DEMO_CONFIG_EXTRA", "abcdefgh")] {
        let secret = (secret.0.to_owned(), secret.1.to_owned());
        assert!(settings.secrets.contains(&secret), "{secret:?}");
    }
}

#[test]
fn a_secret_too_short_to_be_found_is_an_error_and_shown_nowhere() {
    let short = ["DEMO_CATALOG_LAKE_SECRET_KEY", "DEMO_CONFIG__mail.password", "DEMO_CONFIG__user"];
    let pairs = [&[GOOD][..], &short.map(|name| (name, "abc"))].concat();
    let wrong = |severity: &str| {
        [short[0], short[1]].map(|name| format!("{severity}: {name} is shorter than a secret must be"))
    };
    let (_, problems) = run(&pairs, &options());
    assert_eq!(problems, wrong("error"));
    let (settings, problems) = run(&pairs, &Options { allow_insecure: true, ..options() });
    assert_eq!(problems, wrong("warning"));
    assert!(settings.settings.iter().all(|setting| setting.shown != "abc"), "{:?}", settings.settings);
    let (_, problems) = run(&[GOOD, ("DEMO_CATALOG_LAKE_SECRET_KEY", ""), ("DEMO_CONFIG__x.token", "30")], &options());
    assert_eq!(problems, [""; 0]);
}

#[test]
fn a_secret_inside_a_value_is_kept_wherever_the_value_came_from() {
    let arguments = vec!["-Dkey.storePassword=hunter11".to_owned()];
    let pairs = [
        GOOD,
        ("DEMO_CATALOG_LAKE_URI", "http://u:hunter22@lake"),
        ("DEMO_CONFIG__url", "jdbc:x://y?password=hunter33"),
        ("DEMO_CONFIG_EXTRA", "a.url=mongodb://u:hunter44@h/"),
        ("ELSEWHERE", "http://u:hunter55@h/"),
        ("SOME_TOKEN", "hunter66"),
    ];
    let (settings, _) = run(&pairs, &Options { arguments, ..options() });
    for secret in ["hunter11", "hunter22", "hunter33", "hunter44", "hunter55", "hunter66"] {
        assert!(settings.secrets.iter().any(|(_, kept)| kept == secret), "{secret} {:?}", settings.secrets);
    }
    assert!(!settings.secrets.iter().any(|(name, _)| name == "PWD"));
}

#[test]
fn a_rule_across_variables_is_checked_and_silent_when_its_variable_is_wrong() {
    let (_, problems) = run(&[GOOD, ("DEMO_PORT", "9000")], &options());
    assert_eq!(problems, ["error: DEMO_PORT is 9000, which the console uses"]);
}

#[test]
fn unknown_variables_are_errors_where_strict_and_others_pass_through() {
    let (_, problems) = run(&[GOOD, ("DEMO_PROT", "1")], &Options { strict: true, ..options() });
    assert_eq!(problems, ["error: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?"]);
    let (settings, _) = run(&[GOOD, ("HOME_TOWN", "x"), ("DL_LOG_LEVEL", "debug")], &options());
    assert_eq!(settings.inherited, [(OsString::from("HOME_TOWN"), OsString::from("x"))]);
    // Of the service's own names an empty one is dropped; what others make of theirs is not known.
    let (settings, problems) = run(&[GOOD, ("DEMO_WHATEVER", ""), ("OTHER", "")], &options());
    assert_eq!(problems, [""; 0]);
    assert_eq!(settings.inherited, [(OsString::from("OTHER"), OsString::new())]);
}

/// Behaviours: 48.
#[test]
fn a_variable_that_is_not_text_is_an_error_only_where_it_is_needed() {
    use std::os::unix::ffi::OsStringExt;
    let contract = Contract::from_toml(CONTRACT).unwrap();
    let bytes = || OsString::from_vec(vec![0xff]);
    let pairs = [(OsString::from("DEMO_PASSWORD"), bytes()), (OsString::from("OTHER"), bytes())];
    let (settings, problems) = load(&contract, &Environment::from_pairs(pairs), &options());
    assert_eq!(problems[0].to_string(), "DEMO_PASSWORD is not UTF-8 text\n     from: environment");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let beside = [(OsString::from("DEMO_PASSWORD"), bytes()), ("LEGACY_PASSWORD".into(), GOOD.1.into())];
    let (_, problems) = load(&contract, &Environment::from_pairs(beside), &options());
    assert_eq!(problems[0].to_string(), "DEMO_PASSWORD is not UTF-8 text\n     from: environment");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let old = [(OsString::from("LEGACY_PASSWORD"), bytes())];
    let (_, problems) = load(&contract, &Environment::from_pairs(old), &options());
    assert_eq!(problems[0].to_string(), "LEGACY_PASSWORD is not UTF-8 text\n     from: environment");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(settings.inherited, [(OsString::from("OTHER"), bytes())]);
}
