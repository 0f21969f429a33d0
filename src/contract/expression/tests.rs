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

#[test]
fn parts_of_an_address_are_found_with_and_without_a_scheme() {
    let url = [("u", Value::from("http://[::1]:9000/a/b"))];
    assert_eq!(text("{{ u | host_of }} {{ u | port_of }} {{ u | path_of }}", &url).unwrap(), "::1 9000 /a/b");
    let plain = [("u", Value::from("jdbc:postgresql://db/nessie"))];
    assert_eq!(text("{{ u | host_of }} {{ u | port_of(default=5432) }}", &plain).unwrap(), "db 5432");
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
