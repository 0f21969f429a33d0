//! Facts about where we run: limits of memory and processors, names, user, architecture.
//!
//! Read once, before anything is decided, and plain data from then on. A limit is the smallest along the chain of
//! control groups from ours to the root (cgroups(7)): a pod's slice may be tighter than the container's own group.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

/// The values of `container` in expressions.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Bytes the processes here may use: the tightest cgroup limit, or the machine's memory.
    pub memory: u64,
    /// Whether a limit below the machine's memory is set.
    pub memory_limited: bool,
    /// Processors' worth of time: the tightest quota, or the processors there are.
    pub cpus: f64,
    pub hostname: String,
    /// The address other hosts reach us at: the source address of a packet leaving this host, or the host name.
    pub address: String,
    pub uid: u32,
    pub gid: u32,
    /// `amd64` or `arm64`, as container images name them.
    pub architecture: String,
}

impl Container {
    /// Looks around.
    pub fn observe() -> Container {
        let root = Path::new("/");
        let machine = machine_memory(&read(root, "proc/meminfo"));
        let limits = Limits::read(root);
        let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Container {
            memory: limits.memory.unwrap_or(u64::MAX).min(machine),
            memory_limited: limits.memory.is_some_and(|limit| limit < machine),
            cpus: limits.cpus.unwrap_or(f64::MAX).min(processors()),
            address: own_address().unwrap_or_else(|| hostname.clone()),
            hostname,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.into(),
        }
    }

    /// As expressions see it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "memory": self.memory,
            "memory_limited": self.memory_limited,
            "cpus": self.cpus,
            "hostname": self.hostname,
            "address": self.address,
            "uid": self.uid,
            "gid": self.gid,
            "architecture": self.architecture,
        })
    }
}

/// Limits found in control groups; `None` where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    pub cpus: Option<f64>,
}

impl Limits {
    /// Reads cgroup v1 and v2 below `root` (`/` but in tests), taking the tightest along each chain.
    pub fn read(root: &Path) -> Limits {
        let mounts = read(root, "proc/self/mountinfo");
        let groups = read(root, "proc/self/cgroup");
        let mut limits = Limits::default();
        for (controllers, group) in groups.lines().filter_map(group_line) {
            let Some(mount) = mount_of(&mounts, controllers) else { continue };
            for folder in chain(root, &mount, group) {
                limits = limits.tighter(&Limits::of_folder(&folder, controllers.is_empty()));
            }
        }
        limits
    }

    fn of_folder(folder: &Path, version_two: bool) -> Limits {
        if version_two {
            let cpu = read(folder, "cpu.max");
            let quota = cpu.split_once(' ').and_then(|(quota, period)| ratio(quota, period));
            return Limits { memory: read(folder, "memory.max").trim().parse().ok(), cpus: quota };
        }
        let quota = ratio(&read(folder, "cpu.cfs_quota_us"), &read(folder, "cpu.cfs_period_us"));
        // An unlimited version 1 group shows the largest page-aligned number there is.
        let memory =
            read(folder, "memory.limit_in_bytes").trim().parse().ok().filter(|bytes| *bytes < i64::MAX as u64 / 2);
        Limits { memory, cpus: quota }
    }

    fn tighter(&self, other: &Limits) -> Limits {
        Limits {
            memory: [self.memory, other.memory].into_iter().flatten().min(),
            cpus: [self.cpus, other.cpus].into_iter().flatten().min_by(f64::total_cmp),
        }
    }
}

/// How often the kernel has killed a process of our control group for lack of memory: `oom_kill` in version 2's
/// memory.events and version 1's memory.oom_control. 0 where there is none.
pub fn memory_kills(root: &Path) -> u64 {
    let mounts = read(root, "proc/self/mountinfo");
    let groups = read(root, "proc/self/cgroup");
    let innermost = |(controllers, group)| chain(root, &mount_of(&mounts, controllers)?, group).into_iter().next();
    let folders = groups.lines().filter_map(group_line).filter_map(innermost);
    let texts = folders.flat_map(|folder| ["memory.events", "memory.oom_control"].map(|name| read(&folder, name)));
    texts.map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)).sum()
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

/// `quota / period`, where a quota is set at all (`max` and -1 say it is not).
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok().filter(|quota| *quota > 0.0)?;
    let period: f64 = period.trim().parse().ok().filter(|period| *period > 0.0)?;
    Some(quota / period)
}

/// `4:memory:/docker/abc` → (`memory`, `/docker/abc`); version 2's line is `0::/path`. Only what limits us.
fn group_line(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, group) = (parts.next()?, parts.next()?);
    let relevant = controllers.is_empty() || controllers.split(',').any(|name| name == "memory" || name == "cpu");
    relevant.then_some((controllers, group))
}

/// Where a hierarchy is mounted, and which of its groups the mount shows as its root (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    shown: String,
    point: PathBuf,
}

fn mount_of(mounts: &str, controllers: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (shown, point) = (fields.next()?, fields.next()?);
        let mut source = right.split(' ');
        let (kind, options) = (source.next()?, source.nth(1).unwrap_or_default());
        let wanted = match controllers.is_empty() {
            true => kind == "cgroup2",
            false => {
                kind == "cgroup" && controllers.split(',').all(|name| options.split(',').any(|option| option == name))
            }
        };
        wanted.then(|| Mount { shown: shown.to_owned(), point: PathBuf::from(point) })
    })
}

/// The folders of our group and of every parent that can be seen, innermost first.
fn chain(root: &Path, mount: &Mount, group: &str) -> Vec<PathBuf> {
    let base = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
    let shown = mount.shown.trim_end_matches('/');
    // Inside a container with the host's cgroup namespace, the group is named from the host's root.
    let inside = group.strip_prefix(shown).unwrap_or(group).trim_matches('/');
    let mut folder = base.join(inside);
    if !folder.is_dir() {
        folder = base.clone();
    }
    folder.ancestors().take_while(|ancestor| ancestor.starts_with(&base)).map(Path::to_path_buf).collect()
}

fn machine_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    // Without /proc nothing is known: a small machine is the safe guess.
    kibibytes.map_or(1 << 30, |kibibytes| kibibytes * 1024)
}

fn processors() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// Asks the routing table which address a packet to elsewhere would leave from; nothing is sent.
fn own_address() -> Option<String> {
    let elsewhere = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    elsewhere.iter().find_map(|(local, remote)| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of `look` on a file system with these files.
    fn look<T>(files: &[(&str, &str)], look: fn(&Path) -> T) -> T {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("dl-entry-container-{}-{number}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = look(&root);
        let _ = fs::remove_dir_all(&root);
        found
    }

    fn limits(files: &[(&str, &str)]) -> Limits {
        look(files, Limits::read)
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    /// Behaviours: 81.
    #[test]
    fn version_two_takes_the_tightest_limit_along_the_chain() {
        let found = limits(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/kubepods/pod1/box\n"),
            ("sys/fs/cgroup/kubepods/pod1/box/memory.max", "max\n"),
            ("sys/fs/cgroup/kubepods/pod1/box/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/kubepods/pod1/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/kubepods/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/kubepods/cpu.max", "150000 100000\n"),
        ]);
        assert_eq!(found, Limits { memory: Some(2 << 30), cpus: Some(1.5) });
    }

    #[test]
    fn version_two_in_a_container_of_its_own_namespace_is_the_mount_itself() {
        let found = limits(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(found, Limits { memory: Some(1 << 30), cpus: None });
    }

    /// Behaviours: 81.
    #[test]
    fn version_one_reads_each_controllers_own_mount() {
        let found = limits(&[
            (
                "proc/self/mountinfo",
                "31 30 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 32 30 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(found, Limits { memory: Some(512 << 20), cpus: Some(0.5) });
    }

    /// Behaviours: 81.
    #[test]
    fn an_unlimited_or_absent_hierarchy_sets_no_limit() {
        let unlimited = limits(&[
            ("proc/self/mountinfo", "31 30 0:27 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
            ("proc/self/cgroup", "5:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(unlimited, Limits::default());
        assert_eq!(limits(&[]), Limits::default());
    }

    /// Behaviours: 36.
    #[test]
    fn kills_for_lack_of_memory_are_counted_in_either_version() {
        let second = [
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/box\n"),
            ("sys/fs/cgroup/box/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ];
        assert_eq!(look(&second, memory_kills), 2);
        let first = [
            ("proc/self/mountinfo", "31 30 0:27 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
            ("proc/self/cgroup", "5:memory:/box\n"),
            ("sys/fs/cgroup/memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ];
        assert_eq!(look(&first, memory_kills), 1);
        assert_eq!(look(&[], memory_kills), 0);
    }

    #[test]
    fn this_machine_is_described() {
        let container = Container::observe();
        assert!(container.memory > 1 << 26 && container.cpus >= 0.01, "{container:?}");
        assert!(!container.hostname.is_empty());
    }
}
