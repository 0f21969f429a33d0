//! The image under test: a minimal Debian, the binary as its entry point, and a service of the tests' own.

use crate::engine::Engine;
use crate::support::{Folder, binary};
use bollard::body_full;
use bollard::models::{ContainerConfig, ContainerCreateBody, HealthConfig};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::LazyLock;

const ROOT: (&str, &str) = ("dl-entry-test-root", "1");
const DEMO: (&str, &str) = ("dl-entry-test", "1");
const CONTRACT: &str = include_str!("demo/service.toml");
const TEMPLATE: &str = include_str!("demo/demo.properties.tera");

/// The image's id; made anew once in a run.
pub fn demo() -> &'static str {
    static ID: LazyLock<Option<String>> = LazyLock::new(|| std::panic::catch_unwind(|| make(&Engine::connect())).ok());
    ID.as_deref().expect("the image could not be made: the first test to need it says why")
}

fn make(engine: &Engine) -> String {
    if engine.is_absent(&name(ROOT)) {
        import_root(engine);
    }
    let body = ContainerCreateBody { image: Some(name(ROOT)), cmd: Some(vec!["true".into()]), ..Default::default() };
    let (docker, container) = (engine.docker(), engine.create(body));
    let target = UploadToContainerOptionsBuilder::new().path("/").build();
    engine.wait(docker.upload_to_container(&container, Some(target), body_full(layer().into())));
    // The last run's, which would stay without a name.
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    let _ = engine.try_wait(docker.remove_image(&name(DEMO), Some(options), None));
    let commit = CommitContainerOptionsBuilder::new().container(&container).repo(DEMO.0).tag(DEMO.1).build();
    let image = engine.wait(docker.commit_container(commit, configuration())).id;
    engine.wait(docker.remove_container(&container, Some(RemoveContainerOptionsBuilder::new().force(true).build())));
    image
}

fn name((repository, tag): (&str, &str)) -> String {
    format!("{repository}:{tag}")
}

fn import_root(engine: &Engine) {
    let path = std::env::var("DL_CONTAINER_ROOT").unwrap_or_else(|_| {
        panic!("DL_CONTAINER_ROOT names no archive of a root file system: run ./dl test, which makes one")
    });
    let archive = std::fs::read(&path).unwrap_or_else(|error| panic!("DL_CONTAINER_ROOT: {path}: {error}"));
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(ROOT.0).tag(ROOT.1).build();
    let import = engine.docker().create_image(Some(options), Some(body_full(archive.into())), None);
    engine.wait(import.try_collect::<Vec<_>>());
}

/// What a Dockerfile would say.
fn configuration() -> ContainerConfig {
    let second = 1_000_000_000;
    let health = HealthConfig {
        test: Some(["CMD", "dl-entry", "health"].map(str::to_owned).into()),
        interval: Some(second / 2),
        timeout: Some(10 * second),
        retries: Some(2),
        ..Default::default()
    };
    ContainerConfig {
        entrypoint: Some(vec!["dl-entry".into()]),
        cmd: Some(Vec::new()),
        env: Some(vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()]),
        healthcheck: Some(health),
        ..Default::default()
    }
}

/// The binary and the service, as an archive.
fn layer() -> Vec<u8> {
    let folder = Folder::new("image");
    for path in ["usr/local/bin", "etc/dl-entry/services/demo"] {
        std::fs::create_dir_all(folder.join(path)).unwrap();
    }
    std::fs::copy(binary(), folder.join("usr/local/bin/dl-entry")).unwrap();
    std::fs::set_permissions(folder.join("usr/local/bin/dl-entry"), PermissionsExt::from_mode(0o755)).unwrap();
    folder.write("etc/dl-entry/service", "demo\n");
    folder.write("etc/dl-entry/services/demo/service.toml", CONTRACT);
    folder.write("etc/dl-entry/services/demo/demo.properties.tera", TEMPLATE);
    let archive = ["--owner=0", "--group=0", "--mode=go+rX", "-cf", "-", "usr", "etc"];
    let made = Command::new("tar").arg("-C").arg(folder.path()).args(archive).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}
