use super::*;
use crate::testing::Folder;

fn holds(folder: &Folder, names: &[&str]) {
    for name in names {
        folder.write(name, if name.ends_with("PG_VERSION") { "16\n" } else { "x" });
    }
}

#[test]
fn a_data_folder_is_empty_a_cluster_or_refused_with_what_is_in_it() {
    let folder = Folder::new("data");
    let look = |folder: &Folder| nothing_else(folder.path());
    holds(&folder, &["lost+found/x", ".dl-entry.lock"]);
    assert_eq!(look(&folder).unwrap(), Found::Nothing);
    holds(&folder, &["notes.txt"]);
    assert!(look(&folder).unwrap_err().to_string().contains("is not empty: notes.txt"));
    holds(&folder, &["PG_VERSION"]);
    assert!(complete(folder.path(), "16").unwrap_err().to_string().contains("no global/pg_control"));
    holds(&folder, &["global/pg_control"]);
    assert_eq!(complete(folder.path(), "16").unwrap(), Found::Cluster { major: "16".into() });
}

#[test]
fn what_looks_like_another_cluster_is_found_wherever_it_is_on_the_volume() {
    for (names, expected) in [
        (&["18/docker/PG_VERSION", "18/docker/global/x"][..], "18/docker (a cluster of PostgreSQL 16)"),
        (&["data_old/x"], "data_old (kept by an upgrade)"),
        (&["upgrade_in_progress.lock"], "(an upgrade that may not have ended)"),
        (&["delete_old_cluster.sh"], "(an upgrade that may not have ended)"),
    ] {
        let volume = Folder::new("volume");
        holds(&volume, names);
        let data = volume.path().join("data");
        fs::create_dir(&data).unwrap();
        let found = other_clusters(&data);
        assert!(found.iter().any(|one| one.ends_with(expected)), "{names:?}: {found:?}");
    }
    let alone = Folder::new("alone");
    holds(&alone, &["backups/base/1/PG_VERSION", "lost+found/x"]);
    let data = alone.path().join("data");
    fs::create_dir(&data).unwrap();
    assert_eq!(other_clusters(&data), Vec::<String>::new());
}

#[test]
fn a_pid_file_is_stale_unless_its_process_is_a_server_on_this_folder() {
    let folder = Folder::new("pid");
    let file = folder.write("postmaster.pid", "");
    // Ours, a process that is not a server, none at all, and nothing that is a number.
    for text in [std::process::id().to_string(), "1".into(), "4194303".into(), "garbage".into(), String::new()] {
        fs::write(&file, format!("{text}\n/data\n")).unwrap();
        clear_pid_file(&file, folder.path()).unwrap();
        assert!(!file.exists(), "{text:?}");
    }
    clear_pid_file(&file, folder.path()).unwrap();
}

#[test]
fn the_mode_of_a_data_folder_is_mended_as_postgresql_wants_it() {
    let folder = Folder::new("mode");
    for (mode, mended) in [(0o2770, 0o750), (0o777, 0o750), (0o755, 0o750), (0o700, 0o700), (0o750, 0o750)] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        mend_permissions(folder.path()).unwrap();
        assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, mended, "{mode:o}");
    }
}
