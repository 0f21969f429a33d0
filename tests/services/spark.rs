//! Spark as a cluster that loses a worker without losing a job, with what looks at it afterwards, and as what asks.

use crate::minio::Minio;
use crate::nessie::Nessie;
use crate::service::{LONG, Service, artifact, turn};
use crate::support::{Ended, Running, free_port, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PROMPT: Duration = Duration::from_secs(30);

/// Two hundred tasks, of which some are under way whenever a worker goes, and a shuffle whose blocks have to move.
const JOB: &str = "
import time
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName('survives').getOrCreate()
def slow(number):
    time.sleep(0.1)
    return number % 4, number
pairs = spark.sparkContext.parallelize(range(200), 200).map(slow).reduceByKey(lambda one, other: one + other, 4)
print('sum', sum(part for _, part in pairs.collect()), flush=True)
spark.stop()
";

/// Asks a Connect server at the given address.
const CLIENT: &str = r#"
import org.apache.spark.sql.connect.SparkSession;
public class Client {
    public static void main(String[] arguments) {
        try (SparkSession session = SparkSession.builder().remote(arguments[0]).getOrCreate()) {
            System.out.println("answer " + session.sql("SELECT 40 + 2").collectAsList().get(0).get(0));
        }
        System.exit(0);
    }
}
"#;

/// The home of a Java that runs Spark: 17 to 22, with a compiler.
fn java_home() -> PathBuf {
    let named = std::env::var_os("DL_SPARK_JAVA").map(PathBuf::from);
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let suits = |home: &PathBuf| {
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        let version =
            release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")?.split('.').next()?.parse().ok());
        home.join("bin/javac").exists() && version.is_some_and(|version: u32| (17..23).contains(&version))
    };
    let found = named.into_iter().chain(installed).find(suits);
    found.expect("Spark needs a JDK of 17 to 22: install default-jdk-headless, or name one in DL_SPARK_JAVA")
}

struct Spark {
    service: Service,
    ui: u16,
}

impl Spark {
    /// What differs between a container and this machine: folders, ports, loopback, little memory.
    fn new(test: &str, mode: &str) -> Spark {
        let (mut service, ui) = (Service::new("spark", test), free_port());
        let data = service.own_folder("data");
        service.set("JAVA_HOME", java_home().display()).set("SPARK_HOME", artifact("spark-4.1.2").display());
        service.set("SPARK_MODE", mode).set("SPARK_DATA_DIR", data.display()).set("SPARK_WEBUI_PORT", ui);
        service.set("SPARK_LOCAL_IP", "127.0.0.1").set("POD_IP", "127.0.0.1").set("SPARK_DAEMON_MEMORY", "256m");
        service.set("SPARK_DAEMON_JAVA_OPTS", "-XX:TieredStopAtLevel=1").set("SPARK_EXECUTOR_MEMORY", "512m");
        service.set("spark.ui.enabled", "false");
        Spark { service, ui }
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.service.command(&[&["run", "--service", "spark", "--"], arguments].concat()))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let ended = self.start(arguments).ended(LONG * 2);
        assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
        ended
    }

    fn json(&self, path: &str) -> Option<Value> {
        let (status, body) = crate::support::try_get(self.ui, path).ok()?;
        (status == 200).then(|| serde_json::from_str(&body).ok())?
    }

    fn stop(&self, running: Running) -> Ended {
        let ended = self.service.stop(running, PROMPT);
        assert_eq!(ended.code(), 143, "a JVM's own status after SIGTERM: {}", ended.stderr);
        ended
    }
}

#[test]
fn a_job_survives_the_decommissioning_of_a_worker_and_the_history_server_shows_it() {
    let _turn = turn();
    let (mut master, port) = (Spark::new("master", "master"), free_port());
    master.service.set("SPARK_MASTER_PORT", port).set("SPARK_RPC_AUTHENTICATION_SECRET", "Zq1-of-the-cluster.K7");
    let url = format!("spark://127.0.0.1:{port}");
    let member = |test: &str, mode: &str| {
        let mut spark = Spark::new(test, mode);
        spark.service.set("SPARK_MASTER_URL", &url).set("SPARK_RPC_AUTHENTICATION_SECRET", "Zq1-of-the-cluster.K7");
        spark.service.set("SPARK_WORKER_CORES", 1).set("SPARK_WORKER_MEMORY", "600m");
        spark.service.set("SPARK_DECOMMISSION_TIMEOUT", "8s");
        spark
    };
    let workers = [member("one", "worker"), member("two", "worker")];
    let mut running = [master.service.start(), workers[0].service.start(), workers[1].service.start()];
    for (spark, running) in std::iter::once(&master).chain(&workers).zip(&mut running) {
        spark.service.await_ready(running);
    }
    let [running_master, leaving, staying] = running;
    let alive = || master.json("/json/").is_some_and(|state| state["aliveworkers"] == 2);
    until(LONG, "both workers", || alive().then_some(()));

    let mut client = member("job", "submit");
    let events = client.service.own_folder("events");
    client.service.set("SPARK_EVENT_LOG_DIR", events.display()).set("spark.eventLog.rolling.enabled", "false");
    let job = client.service.folder.write("job.py", JOB);
    let mut submitted = client.start(&[job.to_str().unwrap()]);
    submitted.await_text(LONG, "Finished task 20.0 in stage 0.0");
    let left = workers[0].service.stop(leaving, PROMPT);
    assert_eq!(left.code(), 143, "{}", left.stderr);
    assert!(left.stderr.contains("Decommission worker"), "{}", left.stderr);
    let done = submitted.ended(LONG * 2);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert!(done.stdout.contains("sum 19900"), "{}", done.stdout);
    assert!(done.stderr.contains("decommissioned"), "the job was told: {}", done.stderr);
    for ended in [workers[1].stop(staying), master.stop(running_master), done] {
        assert!(!ended.stderr.contains("Zq1-of-the-cluster"), "{}", ended.stderr);
    }

    let mut history = Spark::new("history", "history");
    history.service.set("SPARK_HISTORY_LOG_DIR", events.display());
    let running = history.service.ready();
    let applications = until(LONG, "the application", || {
        history.json("/api/v1/applications").filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    });
    assert_eq!(applications[0]["name"], "survives", "{applications}");
    history.stop(running);
}

#[test]
fn a_connect_client_runs_a_query_on_a_server_at_loopback() {
    let _turn = turn();
    let (mut spark, port) = (Spark::new("connect", "connect"), free_port());
    spark.service.set("SPARK_MASTER_URL", "local[1]").set("SPARK_CONNECT_PORT", port);
    let running = spark.service.ready();
    let home = artifact("spark-4.1.2");
    let class_path = format!("{0}/jars/connect-repl/*:{0}/jars/*", home.display());
    let program = spark.service.folder.write("Client.java", CLIENT);
    let mut client = Command::new(java_home().join("bin/java"));
    client.args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", &class_path]).arg(program);
    client.arg(format!("sc://127.0.0.1:{port}"));
    let answered = Running::start(client).ended(LONG);
    assert!(answered.stdout.contains("answer 42"), "{}\n{}", answered.stdout, answered.stderr);
    spark.stop(running);
}

#[test]
fn a_driver_and_an_executor_start_as_the_scheduler_of_kubernetes_starts_them() {
    let _turn = turn();
    let mut spark = Spark::new("pods", "worker");
    spark.service.set("SPARK_DRIVER_BIND_ADDRESS", "127.0.0.1").set("SPARK_APPLICATION_ID", "spark-1");
    let job = spark.service.folder.write("job.py", &JOB.replace("200", "2"));
    let properties = spark.service.folder.write("spark.properties", "spark.master local[1]\nspark.ui.enabled false\n");
    let arguments = ["driver", "--properties-file", properties.to_str().unwrap(), job.to_str().unwrap()];
    assert!(spark.run(&arguments).stdout.contains("sum 1"));

    let driver = format!("spark://CoarseGrainedScheduler@127.0.0.1:{}", free_port());
    spark.service.set("SPARK_DRIVER_URL", &driver).set("SPARK_EXECUTOR_ID", 7).set("SPARK_EXECUTOR_CORES", 1);
    spark.service.set("SPARK_EXECUTOR_POD_IP", "127.0.0.1").set("SPARK_EXECUTOR_POD_NAME", "exec-7");
    spark
        .service
        .set("SPARK_JAVA_OPT_0", "-Dspark.rpc.numRetries=1")
        .set("SPARK_JAVA_OPT_1", "-Dx.secret=Zq2-option.K7");
    let mut executor = spark.start(&["executor"]);
    let line = until(LONG, "the executor", || spark.service.processes().pop());
    let words = "KubernetesExecutorBackend --driver-url";
    assert!(line.contains(words) && line.contains(&driver) && line.contains("--podName exec-7"), "{line}");
    assert!(!line.contains("Zq2-option"), "{line}");
    if !executor.has_ended() {
        executor.signal(Signal::SIGTERM);
    }
    executor.ended(PROMPT);
}

#[test]
fn a_table_of_nessie_and_minio_is_written_and_read_by_sql() {
    let _turn = turn();
    let mut minio = Minio::new("spark-lakehouse");
    minio.service.set("MINIO_DEFAULT_BUCKETS", "lake");
    let mut nessie = Nessie::on_rocksdb("spark-lakehouse");
    nessie.service.set("WAREHOUSE_LOCATION", "s3://lake/warehouse");
    let mut spark = Spark::new("lakehouse", "sql");
    spark.service.set("SPARK_MASTER_URL", "local[1]").set("NESSIE_URI", nessie.url(""));
    for service in [&mut nessie.service, &mut spark.service] {
        service.set("S3_ENDPOINT", minio.url("")).set("S3_ACCESS_KEY", "admin");
        service.set("S3_SECRET_KEY", "correct horse battery");
    }
    let servers = (minio.service.ready(), nessie.service.ready());
    let sql = "CREATE NAMESPACE geo; CREATE TABLE geo.lakes (name string, depth int); \
               INSERT INTO geo.lakes VALUES ('Baikal', 1642), ('Müritz', 31); \
               SELECT name, depth FROM geo.lakes ORDER BY depth";
    let ended = spark.run(&["-e", sql]);
    assert!(ended.stdout.contains("Müritz\t31\nBaikal\t1642"), "{}\n{}", ended.stdout, ended.stderr);
    assert!(!ended.stderr.contains("correct horse"), "{}", ended.stderr);
    nessie.stop(servers.1);
    minio.service.stop(servers.0, PROMPT);
}
