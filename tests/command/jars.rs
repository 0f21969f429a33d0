//! What is looked up in the jars of a service before it starts.

use crate::support::{Ended, Folder, Running, entry};
use std::path::Path;
use std::time::Duration;

/// A jar of one empty class: its central directory and its end, of which the name is what matters.
fn jar(class: &str) -> Vec<u8> {
    let name = format!("{}.class", class.replace('.', "/"));
    let mut bytes = b"PK\x01\x02".to_vec();
    bytes.extend([0; 24]);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(name.as_bytes());
    let size = bytes.len() as u32;
    bytes.extend(b"PK\x05\x06\0\0\0\0\0\0\0\0");
    bytes.extend(size.to_le_bytes());
    bytes.extend([0; 6]);
    bytes
}

/// What is said of a client with these jars, whose first is Spark 4.1.2's core.
fn started(test: &str, jars: &[(&str, &str)], environment: &[(&str, &str)]) -> Ended {
    let home = Folder::new(test);
    let core = [("spark-core_2.13-4.1.2.jar", "org.apache.spark.SparkConf")];
    std::fs::create_dir_all(home.join("jars")).unwrap();
    for (file, class) in core.iter().chain(jars) {
        std::fs::write(Path::new(&home.join("jars")).join(file), jar(class)).unwrap();
    }
    let mut command = entry(&["run", "--service", "spark"]);
    command.env("SPARK_HOME", home.path()).env("SPARK_MODE", "shell").env("DL_HEALTH_ADDR", "off");
    command.env("DL_RUN_DIR", home.join("run")).env("SPARK_DATA_DIR", home.join("data"));
    command.envs(environment.iter().copied());
    Running::start(command).ended(Duration::from_secs(10))
}

#[test]
fn a_class_that_no_jar_has_is_named_before_the_start() {
    let named = [
        ("spark.kryo.registrator", "org.apache.iceberg.spark.IcebergKryoRegistrator"),
        ("spark.sql.catalog.lake", "org.example.Lake"),
        ("SPARK_SQL_EXTENSIONS", "org.example.Extensions,io.delta.sql.DeltaSparkSessionExtension"),
    ];
    let ended =
        started("jars-missing", &[("lake.jar", "org.example.Lake"), ("x.jar", "org.example.Extensions")], &named);
    assert_eq!(ended.code(), 78, "{}", ended.stderr);
    for class in ["org.apache.iceberg.spark.IcebergKryoRegistrator", "io.delta.sql.DeltaSparkSessionExtension"] {
        assert!(ended.stderr.contains(&format!("names the class {class}, which no jar in")), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("org.example"), "{}", ended.stderr);
}

#[test]
fn an_iceberg_for_another_spark_is_refused() {
    let runtime = [("iceberg-spark-runtime-3.5_2.12-1.9.1.jar", "a.B")];
    let ended = started("jars-of-another", &runtime, &[]);
    assert_eq!(ended.code(), 78, "{}", ended.stderr);
    let refused =
        "has iceberg-spark-runtime-3.5_2.12-1.9.1.jar among its jars, which is not for Spark 4.1 with Scala 2.13";
    assert!(ended.stderr.contains(refused), "{}", ended.stderr);
    let two = [("iceberg-spark-runtime-4.1_2.13-1.12.0.jar", "a.B"), ("iceberg-aws-bundle-1.11.0.jar", "a.C")];
    let ended = started("jars-of-two-versions", &two, &[]);
    let refused = "has Iceberg 1.12.0 and iceberg-aws-bundle 1.11.0 among its jars";
    assert!(ended.stderr.contains(refused), "{}", ended.stderr);
}
