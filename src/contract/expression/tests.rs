use super::*;

fn text(expression: &str, pairs: &[(&str, Value)]) -> Result<String, String> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Expressions::default().text(expression, &context_of(&pairs))
}

#[test]
fn sizes_and_durations_are_printed_in_the_unit_asked_for() {
    let heap = [("heap", Value::from(8u64 << 30))];
    assert_eq!(text("{{ heap | fraction(of=0.3) | whole_mebibytes | datasize }}", &heap).unwrap(), "2457MB");
    assert_eq!(text("{{ heap | jvmsize }}", &heap).unwrap(), "8g");
    assert_eq!(text("{{ grace | duration }}", &[("grace", Value::from(90_000u64))]).unwrap(), "90s");
    assert_eq!(text("{{ grace | duration_iso }}", &[("grace", Value::from(90_000u64))]).unwrap(), "PT90S");
}

#[test]
fn asking_whether_a_value_is_there_does_not_read_it() {
    for there in
        ["x", "not x", "a and x or b", "(x) and y", "{% if x %}1{% elif x %}2{% endif %}", "x is defined", "xy == 1"]
    {
        assert!(!reads_content(there, "x"), "{there}");
    }
    for read in ["x == 1", "{{ x }}", "not (x | matches(pattern='a'))", "\"a\" in x", "x.y", "{% for y in x %}"] {
        assert!(reads_content(read, "x"), "{read}");
    }
    assert!(!reads_content("catalog.x == 1", "x"));
}

#[test]
fn versions_compare_by_number() {
    assert_eq!(
        text("{% if v | since(version=\"0.104\") %}new{% else %}old{% endif %}", &[("v", "0.99.0".into())]).unwrap(),
        "old"
    );
    assert_eq!(
        text("{% if v | since(version=477) %}new{% else %}old{% endif %}", &[("v", "480".into())]).unwrap(),
        "new"
    );
}

#[test]
fn an_undefined_variable_is_false_in_a_condition_and_an_error_in_a_text() {
    let expressions = Expressions::default();
    assert_eq!(expressions.holds("nothing", &Context::new()), Ok(false));
    assert_eq!(expressions.holds("not nothing", &Context::new()), Ok(true));
    assert_eq!(expressions.holds("nothing and nothing == \"x\"", &Context::new()), Ok(false));
    assert!(expressions.text("{{ nothing }}", &Context::new()).unwrap_err().contains("nothing"));
}

/// Values of every kind, nothing among them, for the names of an expression and their fields.
fn some_context(names: &HashSet<String>, expression: &str, seed: &mut u64) -> Context {
    let mut number = |below: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    };
    let texts: Vec<&str> = expression.split(['"', '\'']).skip(1).step_by(2).collect();
    let mut plain = || -> Option<Value> {
        Some(match number(10) {
            0 => return None,
            1 => "".into(),
            2 => "https://h:1/a".into(),
            3 => true.into(),
            4 => false.into(),
            5 => 0.into(),
            6 => 2.5.into(),
            7 => vec![Value::from("a"), Value::from("b")].into(),
            _ if texts.is_empty() => 7.into(),
            _ => texts[number(texts.len() as u64) as usize].into(),
        })
    };
    let mut context = Context::new();
    let mut names: Vec<&String> = names.iter().collect();
    names.sort();
    for name in names {
        let start = format!("{name}.");
        let after = expression.split(start.as_str()).skip(1);
        let field = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
        let fields: BTreeMap<String, Value> =
            after.map(field).filter_map(|field| plain().map(|value| (field, value))).collect();
        let value = if fields.is_empty() { plain() } else { Some(Value::from_serializable(&fields)) };
        value.into_iter().for_each(|value| context.insert_value(name.clone(), value));
    }
    context
}

/// Every text of a contract, and whether it is a condition.
fn texts_of(value: &serde_json::Value, condition: bool, texts: &mut Vec<(String, bool)>) {
    const CONDITIONS: [&str; 6] = ["when", "require", "required-if", "holds", "unknown-when", "error-when"];
    match value {
        serde_json::Value::String(text) => texts.push((text.clone(), condition)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts_of(item, condition, texts)),
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| texts_of(value, CONDITIONS.contains(&key.as_str()), texts));
        }
        _ => {}
    }
}

#[test]
fn every_expression_of_the_contracts_says_what_tera_says_of_it() {
    let folder = std::path::Path::new("/nonexistent");
    let mut expressions = Expressions::default();
    let (mut seed, mut compared) = (7, 0);
    for name in crate::contract::registry::names(folder).unwrap() {
        let contract = crate::contract::registry::find(&name, folder).unwrap().contract;
        let mut texts = Vec::new();
        texts_of(&serde_json::to_value(&contract).unwrap(), false, &mut texts);
        let derived = contract.derived.iter().map(|derived| (derived.expression().into_owned(), false));
        for (text, condition) in texts.into_iter().chain(derived) {
            let template = if condition { condition_template(&text) } else { text.clone() };
            let Some(names) = expressions.variables(&template).ok().filter(|_| template.contains('{')) else {
                continue;
            };
            for _ in 0..12 {
                let context = some_context(&names, &text, &mut seed);
                let meant = expressions.by_tera(&template, &context);
                assert_eq!(expressions.text(&template, &context), meant, "{template} {context:?}");
                if condition {
                    let meant = meant.map(|text| text == "1");
                    assert_eq!(expressions.holds(&text, &context), meant, "{text} {context:?}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 3000, "{compared}");
}

#[test]
fn expressions_written_in_rare_ways_say_what_tera_says_of_them() {
    let expressions = Expressions::default();
    let map = BTreeMap::from([("b", "x"), ("c", "")]);
    let pairs = [
        ("a", Value::from("x")),
        ("n", 0.into()),
        ("m", Value::from_serializable(&map)),
        ("none", Value::none()),
        ("e", "".into()),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let context = context_of(&pairs.into_iter().collect());
    for text in [
        "{{- a -}} b",
        "a {{ a }}\n{%- if a %} b {% endif -%} c",
        "{# c #}{{ a }}",
        "{{ '}}' }}",
        "{{ \"%}\" }}{% if a %}{% endif %}",
        "{% if a %}\n1\n{% elif q %}2{% else %}3{% endif %}\n",
        "{% if q %}1{% if a %}2{% endif %}{% elif a %}3{% endif %}4",
        "{% if q %}1{% elif n %}2{% else %}3{% endif %}",
        "{% for x in m %}{{ x }}{% endfor %}",
        "{% set z = 1 %}{{ z }}",
        "{{ m }}",
        "{{ m.b }}{{ m.c }}",
        "{{ m.q }}",
        "{{ q.b }}",
        "{{ a.b }}",
        "{{ none }}",
        "{{ n }}{{ true }}",
        "${{{ a }}}",
        "{% if a %}{{ q }}{% endif %}",
        "{% if q %}{{ q }}{% endif %}",
        "{% raw %}{{ a }}{% endraw %}",
        "{ {{a}} }",
        "{{ a",
        "{% if a %}",
        "{% if a %}1{% endif %}{% endif %}",
        "{% else %}",
        "{{ q | default(value='d') }}-{{ a }}",
    ] {
        assert_eq!(expressions.text(text, &context), expressions.by_tera(text, &context), "{text}");
    }
    for condition in [
        "a or q and q",
        "not a or a",
        "not a == \"x\"",
        "not a in [\"x\"]",
        "a not in [\"x\"]",
        "(a) == (m.b)",
        "(a or q) and (n or e)",
        "a if q else n",
        "a or n if q else n",
        "q.b",
        "a.b",
        "m.b and m.c",
        "m.q",
        "m.q is defined",
        "q.b is defined",
        "q is not defined",
        "none",
        "none is defined",
        "none == \"x\"",
        "a == \"x\" or q == \"x\"",
        "q == \"x\"",
        "a != \"x\"",
        "n == \"0\"",
        "true",
        "false",
        "not(a)",
        "not (q or a)",
        "a == 'x' and \" or \" != a",
        "a == \"\\\"\" or a",
        "a and",
        "",
        "q or a | length > 0",
        "\"x\" in a or q",
        "a == \"x\" == \"x\"",
        "a == \"x\" in m",
        "[x for x in m] or a",
        "a\nand\tq",
    ] {
        let meant = expressions.by_tera(&condition_template(condition), &context).map(|text| text == "1");
        assert_eq!(expressions.holds(condition, &context), meant, "{condition}");
    }
}

#[test]
fn parts_of_an_address_are_found_with_and_without_a_scheme() {
    let url = [("u", Value::from("http://[::1]:9000/a/b"))];
    assert_eq!(text("{{ u | host_of }} {{ u | port_of }} {{ u | path_of }}", &url).unwrap(), "::1 9000 /a/b");
    let plain = [("u", Value::from("jdbc:postgresql://db/nessie"))];
    assert_eq!(text("{{ u | host_of }} {{ u | port_of(default=5432) }}", &plain).unwrap(), "db 5432");
}

#[test]
fn an_address_to_listen_at_may_be_a_port_alone_or_nothing() {
    for (given, address) in [("", ":9000"), (" 80 ", ":80"), (":80", ":80"), ("[::1]:80", "[::1]:80"), ("h:1", "h:1")] {
        let pairs = [("given", Value::from(given)), ("port", Value::from(9000))];
        assert_eq!(text("{{ given | listen_address(port=port) }}", &pairs).unwrap(), address);
    }
}

#[test]
fn a_parameter_of_a_url_is_found_and_decoded_and_of_several_the_last() {
    let url = [("u", Value::from("jdbc:postgresql://db/x?sslmode=disable&sslmode=require&sslrootcert=%2Fa%20b"))];
    let expression = "{{ u | url_parameter(name=\"sslmode\") }} {{ u | url_parameter(name=\"sslrootcert\") }} {{ u | url_parameter(name=\"x\") }}";
    assert_eq!(text(expression, &url).unwrap(), "require /a b ");
}

#[test]
fn a_node_id_is_legal_whatever_the_host_is_called() {
    assert_eq!(node_id("trino-0.trino.svc.cluster.local"), "trino-0-trino-svc-cluster-local");
    assert_eq!(node_id("_x"), "x");
    assert_eq!(node_id("···"), "node");
}

#[test]
fn ellipses_expand_as_minio_expands_them_and_anything_else_in_braces_is_nothing() {
    assert_eq!(expand_ellipses("/data{1...3}"), ["/data1", "/data2", "/data3"]);
    assert_eq!(
        expand_ellipses("http://n{0...1}/d{09...10}"),
        ["http://n0/d09", "http://n0/d10", "http://n1/d09", "http://n1/d10"]
    );
    assert_eq!(expand_ellipses("{9...b}"), ["9", "a", "b"]);
    assert_eq!(expand_ellipses("/data"), ["/data"]);
    for wrong in ["/d{1..4}", "/d{4...1}", "/d{1...}", "/d1...4", "/d{1...4", "/d1...4}", "{1,2}", "{1...9999999}"] {
        assert_eq!(expand_ellipses(wrong), [""; 0], "{wrong}");
    }
}

#[test]
fn the_version_of_a_jar_is_the_newest_in_its_folder_and_nothing_else() {
    let folder = std::env::temp_dir().join(format!("dl-entry-jars-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["a-main-99.jar", "a-main-476.jar", "a-main-x.jar", "a-main-480.txt", "a-mainly-500.jar"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    assert_eq!(jar_version(&folder, "a-main").as_deref(), Some("476"));
    assert_eq!(jar_version(&folder, "b-main"), None);
    assert_eq!(jar_version(&folder.join("nothing"), "a-main"), None);
    let first =
        format!("{{{{ first_file(folder='{}', names=['no', 'a-main-x.jar', 'a-main-99.jar']) }}}}", folder.display());
    assert_eq!(text(&first, &[]).unwrap(), folder.join("a-main-x.jar").display().to_string());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_line_gives_the_value_of_its_key_without_quotes() {
    let lines = "version: v2\n  address: inner\naddress: \":9000\"\naddress: other\n";
    assert_eq!(line_value(lines, "address").as_deref(), Some(":9000"));
    assert_eq!(line_value(lines, "addr"), None);
}

#[test]
fn entries_of_a_map_are_found_by_their_keys() {
    let map = BTreeMap::from([("a.url", "x"), ("a.user", "y"), ("b.url", "z")]);
    let pairs = [("map", Value::from_serializable(&map))];
    let told = |expression: &str| text(expression, &pairs).unwrap();
    assert_eq!(told("{{ map | values_of(pattern='[.]url$') | join(sep=',') }}"), "x,z");
    assert_eq!(told("{{ map | keys_of(pattern='^a') | join(sep=',') }}"), "a.url,a.user");
    assert_eq!(told("{{ map | has_key(pattern='^b') }} {{ map | has_key(pattern='^c') }}"), "true false");
}

#[test]
fn nodes_become_urls_with_the_scheme_and_the_path_they_lack() {
    let urls: Vec<String> = node_urls("a, b/x;https://c:9/ d{1...2}", "http", "/data").collect();
    assert_eq!(urls, ["http://a/data", "http://b/x", "https://c:9/data", "http://d{1...2}/data"]);
}

#[test]
fn options_that_are_not_set_are_left_out() {
    assert_eq!(
        text("{{ java_options(of=[nothing, '-Xmx1g -Xms1g', also_nothing]) | json }}", &[]).unwrap(),
        r#"["-Xmx1g","-Xms1g"]"#
    );
}

#[test]
fn words_are_told_into_options_and_operands() {
    let line = "server --json http://n{0...3}/data --address :9000 -address=:9443 /b -- --c";
    let words = line.split(' ').map(Value::normal_string).collect::<Vec<_>>();
    let pairs = [("words", Value::from(words))];
    let told = |expression: &str| text(expression, &pairs).unwrap();
    assert_eq!(told("{{ words | option(names=['address'], switches=['json']) }}"), ":9443");
    assert_eq!(told("{{ words | option(names=['console-address'], switches=['json']) }}"), "");
    assert_eq!(
        told("{{ words | operands(switches=['json']) | json }}"),
        r#"["server","http://n{0...3}/data","/b","--c"]"#
    );
    assert_eq!(told("{{ words | options(without=['address'], switches=['json']) | json }}"), r#"["--json"]"#);
}
