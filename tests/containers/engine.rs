//! Containers as an operator runs them, through the engine `DOCKER_HOST` names; each is removed when it is dropped.
//!
//! The calls wait: a test reads as a sequence, and what it started is gone also where it fails.

use crate::image;
use crate::support::until;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerState, ContainerStateStatusEnum, ExecConfig, HealthStatusEnum, HostConfig,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, TopOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Longer than anything here takes on a busy machine; a test that comes to it has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// A connection to the engine.
pub struct Engine {
    runtime: tokio::runtime::Runtime,
    docker: Docker,
}

impl Engine {
    pub fn connect() -> Engine {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
        let socket = host.strip_prefix("unix://").unwrap_or_else(|| panic!("DOCKER_HOST: {host} is no unix:// socket"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let docker = runtime.block_on(async {
            Docker::connect_with_unix(socket, LONG.as_secs(), API_DEFAULT_VERSION)?.negotiate_version().await
        });
        let docker = docker.unwrap_or_else(|error| panic!("no Docker engine answers on {socket}: {error}"));
        Engine { runtime, docker }
    }

    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Waits for an answer of the engine; its refusal fails the test.
    pub fn wait<T>(&self, answer: impl Future<Output = Result<T, bollard::errors::Error>>) -> T {
        self.runtime.block_on(answer).unwrap_or_else(|error| panic!("the engine: {error}"))
    }

    pub fn try_wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    pub fn is_absent(&self, image: &str) -> bool {
        self.try_wait(self.docker.inspect_image(image)).is_err()
    }

    /// A container that is not started yet: its id.
    pub fn create(&self, body: ContainerCreateBody) -> String {
        self.wait(self.docker.create_container(None::<CreateContainerOptions>, body)).id
    }

    /// The next item of a stream, or nothing within `patience`.
    fn next<T>(&self, stream: &mut (impl StreamExt<Item = T> + Unpin), patience: Duration) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(patience, stream.next()).await.ok().flatten() })
    }
}

/// What follows `docker run`.
pub struct Settings {
    body: ContainerCreateBody,
    host: HostConfig,
}

impl Settings {
    /// The image's service with these arguments.
    pub fn new(arguments: &[&str]) -> Settings {
        let body = ContainerCreateBody { cmd: Some(texts(arguments)), env: Some(Vec::new()), ..Default::default() };
        Settings { body, host: HostConfig { network_mode: Some("none".into()), ..Default::default() } }
    }

    /// The image's service, a shell that runs `script`.
    pub fn script(script: &str) -> Settings {
        Settings::new(&[]).env("DEMO_SCRIPT", script)
    }

    pub fn env(mut self, name: &str, value: &str) -> Settings {
        self.body.env.get_or_insert_default().push(format!("{name}={value}"));
        self
    }

    pub fn user(mut self, user: &str) -> Settings {
        self.body.user = Some(user.into());
        self
    }

    /// `--cap-drop=ALL`, and `--cap-add` for each of these.
    pub fn capabilities(mut self, only: &[&str]) -> Settings {
        (self.host.cap_drop, self.host.cap_add) = (Some(texts(&["ALL"])), Some(texts(only)));
        self
    }

    /// `--read-only`
    pub fn read_only(mut self) -> Settings {
        self.host.readonly_rootfs = Some(true);
        self
    }

    pub fn security(mut self, option: &str) -> Settings {
        self.host.security_opt.get_or_insert_default().push(option.into());
        self
    }

    /// `--user 123456:0 --read-only --cap-drop=ALL --security-opt no-new-privileges`
    pub fn strict(self) -> Settings {
        self.user("123456:0").read_only().capabilities(&[]).security("no-new-privileges")
    }

    /// `--tmpfs PATH`, which the engine mounts noexec.
    pub fn tmpfs(mut self, path: &str) -> Settings {
        self.host.tmpfs.get_or_insert_default().insert(path.into(), String::new());
        self
    }

    /// `--volume HOST:PATH`
    pub fn bind(mut self, from: &std::path::Path, path: &str) -> Settings {
        self.host.binds.get_or_insert_default().push(format!("{}:{path}", from.display()));
        self
    }

    /// `--memory`, in bytes.
    pub fn memory(mut self, bytes: i64) -> Settings {
        self.host.memory = Some(bytes);
        self
    }

    /// `--init`
    pub fn init(mut self) -> Settings {
        self.host.init = Some(true);
        self
    }

    /// `--pid container:OTHER`
    pub fn beside(mut self, other: &Container) -> Settings {
        self.host.pid_mode = Some(format!("container:{}", other.id));
        self
    }

    /// `--interactive --tty`
    pub fn terminal(mut self) -> Settings {
        (self.body.tty, self.body.open_stdin) = (Some(true), Some(true));
        self
    }

    pub fn start(self) -> Container {
        let container = self.create();
        container.begin();
        container
    }

    /// Runs to the end: the exit status and what was printed.
    pub fn run(self) -> Ended {
        self.start().ended()
    }

    /// Started, with somebody at the terminal from the first byte on.
    pub fn at_terminal(self) -> Terminal {
        let container = self.terminal().create();
        let streams = AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stderr(true).stream(true).build();
        let attached = container.engine.docker.attach_container(&container.id, Some(streams));
        let AttachContainerResults { output, input } = container.engine.wait(attached);
        container.begin();
        Terminal { container, output, input, said: String::new() }
    }

    fn create(mut self) -> Container {
        let engine = Rc::new(Engine::connect());
        self.body.image = Some(image::demo().to_owned());
        self.body.host_config = Some(self.host);
        let id = engine.create(self.body);
        Container { engine, id }
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a container or a command in it left.
#[derive(Debug)]
pub struct Ended {
    pub status: i64,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// What it printed, where it succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A container of this test.
pub struct Container {
    engine: Rc<Engine>,
    id: String,
}

impl Container {
    fn begin(&self) {
        self.engine.wait(self.engine.docker.start_container(&self.id, None::<StartContainerOptions>));
    }

    /// What it has printed up to now, on both streams.
    pub fn said(&self) -> (String, String) {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        split(&self.engine.try_wait(self.engine.docker.logs(&self.id, Some(options)).collect::<Vec<_>>()))
    }

    /// Waits until it has printed `text`.
    pub fn await_text(&self, text: &str) {
        until(LONG, text, || {
            let running = self.is_running();
            let (stdout, stderr) = self.said();
            let found = stdout.contains(text) || stderr.contains(text);
            assert!(found || running, "ended without {text:?}\n{stdout}{stderr}");
            found.then_some(())
        });
    }

    pub fn state(&self) -> ContainerState {
        self.engine.wait(self.engine.docker.inspect_container(&self.id, None)).state.unwrap()
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state().status, Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::RUNNING))
    }

    /// What the image's HEALTHCHECK found.
    pub fn health(&self) -> Option<HealthStatusEnum> {
        self.state().health?.status
    }

    /// Waits for its end.
    pub fn ended(&self) -> Ended {
        until(LONG, "the container's end", || (!self.is_running()).then_some(()));
        let (stdout, stderr) = self.said();
        Ended { status: self.state().exit_code.unwrap(), stdout, stderr }
    }

    /// `docker stop`
    pub fn stop(&self) -> Ended {
        let patience = StopContainerOptionsBuilder::new().t(30).build();
        self.engine.wait(self.engine.docker.stop_container(&self.id, Some(patience)));
        self.ended()
    }

    /// `docker kill --signal`
    pub fn kill(&self, signal: &str) {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.engine.wait(self.engine.docker.kill_container(&self.id, Some(options)));
    }

    /// `docker exec --user`
    pub fn exec(&self, user: &str, words: &[&str]) -> Ended {
        let (docker, streams) = (&self.engine.docker, Some(true));
        let config = ExecConfig {
            cmd: Some(texts(words)),
            user: Some(user.into()),
            attach_stdout: streams,
            attach_stderr: streams,
            ..Default::default()
        };
        let id = self.engine.wait(docker.create_exec(&self.id, config)).id;
        let started = self.engine.wait(docker.start_exec(&id, None::<StartExecOptions>));
        let StartExecResults::Attached { output, .. } = started else { panic!("not attached") };
        let (stdout, stderr) = split(&self.engine.try_wait(output.collect::<Vec<_>>()));
        let status = || self.engine.wait(docker.inspect_exec(&id)).exit_code;
        Ended { status: until(LONG, "the command's end", status), stdout, stderr }
    }

    /// `docker top`: pid, parent, state and name of each process, as the host numbers them.
    pub fn processes(&self) -> Vec<Process> {
        let options = TopOptionsBuilder::new().ps_args("-eo pid,ppid,stat,comm").build();
        let rows = self.engine.wait(self.engine.docker.top_processes(&self.id, Some(options))).processes;
        rows.unwrap_or_default().iter().map(|row| Process::read(row)).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        // A second panic would hide the first.
        let _ = self.engine.try_wait(self.engine.docker.remove_container(&self.id, Some(options)));
    }
}

#[derive(Debug)]
pub struct Process {
    pub pid: String,
    pub parent: String,
    pub state: String,
    pub name: String,
}

impl Process {
    fn read(row: &[String]) -> Process {
        let [pid, parent, state, name, ..] = row else { panic!("a row of docker top: {row:?}") };
        Process { pid: pid.clone(), parent: parent.clone(), state: state.clone(), name: name.clone() }
    }
}

/// Somebody at a container's terminal.
pub struct Terminal {
    output: Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    said: String,
    // Last, so that the connections are closed first.
    container: Container,
}

impl Terminal {
    pub fn enter(&mut self, keys: &str) {
        let sent = async {
            self.input.write_all(keys.as_bytes()).await?;
            self.input.flush().await
        };
        self.container.engine.try_wait(sent).unwrap();
    }

    /// What is on the screen since the last call, up to and with `text`.
    pub fn await_text(&mut self, text: &str) -> String {
        let deadline = std::time::Instant::now() + LONG;
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.container.engine.next(&mut self.output, left) {
                Some(part) => self.said.push_str(&String::from_utf8_lossy(&part.unwrap().into_bytes())),
                None => panic!("no {text:?} at the terminal: {:?}", self.said),
            }
        }
        let rest = self.said.split_off(self.said.find(text).unwrap() + text.len());
        std::mem::replace(&mut self.said, rest)
    }

    /// Another size: rows and columns.
    pub fn resize(&self, rows: i32, columns: i32) {
        let (engine, id) = (&self.container.engine, &self.container.id);
        let options = ResizeContainerTTYOptionsBuilder::new().h(rows).w(columns).build();
        engine.wait(engine.docker.resize_container_tty(id, options));
    }

    pub fn container(&self) -> &Container {
        &self.container
    }
}

fn split(parts: &[Result<LogOutput, bollard::errors::Error>]) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for part in parts {
        match part.as_ref().unwrap_or_else(|error| panic!("the engine: {error}")) {
            LogOutput::StdErr { message } => stderr.extend_from_slice(message),
            other => stdout.extend_from_slice(other.as_ref()),
        }
    }
    (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}
