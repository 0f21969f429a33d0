//! `write_all` as a process of its own: it can be another user, see other mounts and be killed. It is this test binary
//! again, with one argument per line in `WRITE`:
//!
//! `[--owner UID:GID] [--forever] [--diff ROOT] [--service FOLDER] [--directory PATH MODE]… [--file PATH MODE TEXT]…`
//! prints an outcome per file; TEXT `x*1000` is a thousand times `x`. Every file names the variables A and B.

use std::path::{Path, PathBuf};
use std::process::Command;

use dl_entry::exit;
use dl_entry::log;
use dl_entry::plan::{Directory, RenderedFile};
use dl_entry::secrets::Secrets;
use dl_entry::write;

#[derive(Default)]
struct Task {
    owner: write::Owner,
    forever: bool,
    diff: Option<PathBuf>,
    service: Option<PathBuf>,
    directories: Vec<Directory>,
    files: Vec<RenderedFile>,
}

/// A command that does what `arguments` say when it is run.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(OPTIONS).env("WRITE", arguments.join("\n"));
    command
}

/// The same as a shell script.
pub fn shell_script(program: &Path) -> String {
    let (program, options) = (program.display(), OPTIONS.join(" "));
    format!("#!/bin/sh\nWRITE=\"$(printf '%s\\n' \"$@\")\" exec {program} {options}\n")
}

const OPTIONS: [&str; 5] = ["process::write_process", "--exact", "--ignored", "--nocapture", "--quiet"];

/// What the test harness says before it starts.
pub const PREAMBLE: &str = "\nrunning 1 test\n";

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn write_process() {
    log::init(log::Format::Text, tracing::Level::INFO, Secrets::of_this_run());
    let arguments = std::env::var("WRITE").expect("arguments in WRITE");
    std::process::exit(run(read_task(arguments.lines().map(str::to_owned))).into());
}

fn run(task: Task) -> u8 {
    if let Some(root) = &task.diff {
        print!("{}", write::diff(&task.files, root));
        return 0;
    }
    let files: Vec<Vec<RenderedFile>> =
        if task.forever { task.files.into_iter().map(|file| vec![file]).collect() } else { vec![task.files] };
    loop {
        for files in &files {
            let written = match &task.service {
                Some(folder) => write::write_service(folder, files, &task.directories, task.owner, &|| {}),
                None => write::write_all(files, &task.directories, task.owner),
            };
            match written {
                Ok(written) => written.iter().for_each(|file| println!("{} {:?}", name(&file.path), file.outcome)),
                Err(error) => {
                    eprintln!("{error}");
                    return exit::CANNOT_WRITE;
                }
            }
        }
        if !task.forever {
            return 0;
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_task(mut arguments: impl Iterator<Item = String>) -> Task {
    let mut task = Task::default();
    while let Some(option) = arguments.next() {
        let mut next = || arguments.next().expect("an argument");
        match option.as_str() {
            "--owner" => task.owner = Some(owner(&next())),
            "--forever" => task.forever = true,
            "--diff" => task.diff = Some(next().into()),
            "--service" => task.service = Some(next().into()),
            "--directory" => task.directories.push(Directory { path: next().into(), mode: octal(&next()) }),
            "--file" => task.files.push(RenderedFile {
                path: next().into(),
                mode: octal(&next()),
                contents: text(&next()).into_bytes(),
                variables: vec!["A".into(), "B".into()],
            }),
            other => panic!("unknown option {other}"),
        }
    }
    task
}

fn octal(text: &str) -> u32 {
    u32::from_str_radix(text, 8).expect("a mode in octal")
}

fn owner(text: &str) -> (u32, u32) {
    let (uid, gid) = text.split_once(':').expect("UID:GID");
    (uid.parse().expect("a uid"), gid.parse().expect("a gid"))
}

fn text(text: &str) -> String {
    match text.split_once('*') {
        Some((piece, count)) => piece.repeat(count.parse().expect("a count")),
        None => text.replace("\\n", "\n"),
    }
}
