//! Other mounts and other users.

use crate::{Said, script};

/// The warnings and errors without time and phase.
fn told(said: &Said) -> Vec<&str> {
    said.stderr
        .lines()
        .map(|line| line.split_once("s ").filter(|_| line.starts_with("20")).map_or(line, |(_, told)| told))
        .collect()
}

/// Behaviours: 74.
#[test]
fn a_full_disk_leaves_every_old_file_and_nothing_else() {
    let said = script(
        r#"mount -t tmpfs -o size=64k none $D; echo old >$D/first; echo old >$D/second
        $W --file $D/first 640 new --file $D/second 640 'x*100000' || echo status $?
        cat $D/first $D/second; ls -A $D"#,
    );
    assert_eq!(said.stdout, "status 73\nold\nold\nfirst\nsecond\n");
    let expected = "cannot write $D/second: no space left on device\n  make room on the file system of $D\n";
    assert_eq!(said.stderr, expected);
}

#[test]
fn a_full_disk_under_a_mounted_file_leaves_its_content() {
    let said = script(
        r#"mkdir $D/small; mount -t tmpfs -o size=64k none $D/small; echo old >$D/small/file
        touch $D/config; mount --bind $D/small/file $D/config; echo old >$D/first
        $W --file $D/first 640 new --file $D/config 640 'x*100000' || echo status $?
        cat $D/first $D/config; ls -A $D"#,
    );
    assert_eq!(said.stdout, "status 73\nold\nold\nconfig\nfirst\nsmall\n");
    assert!(said.stderr.starts_with("cannot write $D/config: no space left on device\n"), "{}", said.stderr);
}

/// Behaviours: 75.
#[test]
fn a_failure_after_writing_in_place_brings_the_old_content_back() {
    let said = script(
        r#"echo old >$D/mine; touch $D/one $D/two; mount --bind $D/mine $D/one
        mkdir $D/small; mount -t tmpfs -o size=64k none $D/small; echo old >$D/small/file
        mount --bind $D/small/file $D/two
        $W --file $D/one 640 new --file $D/two 640 'x*100000' || echo status $?
        cat $D/one $D/two"#,
    );
    assert_eq!(said.stdout, "status 73\nold\nold\n");
}

#[test]
fn a_failure_after_writing_in_place_brings_mode_and_owner_back() {
    let said = script(
        r#"echo old >$D/mine; chmod 644 $D/mine; touch $D/one $D/two; mount --bind $D/mine $D/one
        mkdir $D/small; mount -t tmpfs -o size=64k none $D/small; echo old >$D/small/file
        mount --bind $D/small/file $D/two
        $W --owner 1000:1000 --file $D/one 600 new --file $D/two 600 'x*100000' || echo status $?
        cat $D/one; stat -c '%a %u:%g' $D/one $D/two"#,
    );
    assert_eq!(said.stdout, "status 73\nold\n644 0:0\n644 0:0\n");
}

/// Behaviours: 74.
#[test]
fn a_failure_after_a_rename_brings_the_old_files_back() {
    let said = script(
        r#"echo old >$D/first; chmod 604 $D/first; touch $D/mine $D/last; mount --bind $D/mine $D/last
        mount -o remount,bind,ro $D/last; mount -t tmpfs none /proc
        $W --file $D/first 640 new --file $D/new 640 new --file $D/last 640 new || echo status $?
        cat $D/first; stat -c '%a %h' $D/first; ls -A $D"#,
    );
    assert_eq!(said.stdout, "status 73\nold\n604 1\nfirst\nlast\nmine\n");
    assert_eq!(said.stderr, "cannot write $D/last: read-only file system\n  mount a volume or a tmpfs at $D\n");
}

#[test]
fn a_file_that_a_sticky_folder_keeps_for_its_owner_is_refused_before_anything_is_written() {
    let said = script(
        r#"chmod 1777 $D; echo old >$D/first; echo old >$D/second; chown 1000 $D/first
        W="setpriv --reuid 1000 --regid 1000 --clear-groups $W"
        $W --file $D/first 640 new --file $D/second 640 new || echo status $?; cat $D/first $D/second; ls -A $D"#,
    );
    assert_eq!(said.stdout, "status 73\nold\nold\nfirst\nsecond\n");
    let error = "cannot write $D/second: it is uid 0's, and in a sticky folder nobody else may replace it\n  \
                 remove it, or name a folder that is the service's alone\n";
    assert_eq!(said.stderr, error);
}

/// Behaviours: 75.
#[test]
fn a_writable_mounted_file_is_written_in_place_with_a_warning() {
    let said = script(
        r#"echo old >$D/mine; touch $D/config; mount --bind $D/mine $D/config
        $W --owner 1000:1000 --file $D/config 640 new\\n; cat $D/config $D/mine; stat -c '%a %u:%g' $D/mine
        $W --owner 1000:1000 --file $D/config 640 new\\n; ls -A $D"#,
    );
    assert_eq!(said.stdout, "config InPlace\nnew\nnew\n640 1000:1000\nconfig Unchanged\nconfig\nmine\n");
    assert_eq!(told(&said), ["$D/config is mounted as a single file: written in place, not atomically"]);
}

/// Behaviours: 75.
#[test]
fn a_mount_point_that_proc_does_not_tell_is_found_by_the_rename() {
    let said = script(
        r#"echo old >$D/mine; touch $D/config; mount --bind $D/mine $D/config; mount -t tmpfs none /proc
        $W --file $D/config 640 new\\n; cat $D/config; ls -A $D"#,
    );
    assert_eq!(said.stdout, "config InPlace\nnew\nconfig\nmine\n");
    assert_eq!(told(&said), ["$D/config is mounted as a single file: written in place, not atomically"]);
}

/// Behaviours: 75.
#[test]
fn a_read_only_mounted_file_is_kept_and_the_variables_are_named() {
    let said = script(
        r#"echo theirs >$D/mine; touch $D/config; mount --bind $D/mine $D/config; mount -o remount,bind,ro $D/config
        $W --file $D/config 640 ours --file $D/other 640 ours; cat $D/config
        $W --diff $D --file /config 640 ours\\n"#,
    );
    let kept = "config Kept { ineffective: [\"A\", \"B\"] }\nother Created\ntheirs\n";
    let diff = "# $D/config is mounted by the operator and would be kept\n\
                --- a/config\n+++ b/config\n@@ -1 +1 @@\n-theirs\n+ours\n";
    assert_eq!(said.stdout, format!("{kept}{diff}"));
    assert_eq!(told(&said), ["$D/config is mounted by the operator and kept as it is: no effect there for A, B"]);
}

#[test]
fn files_of_a_read_only_volume_are_kept_and_missing_ones_are_an_error() {
    let said = script(
        r#"mkdir $D/etc; mount -t tmpfs none $D/etc; echo theirs >$D/etc/config; mount -o remount,ro $D/etc
        $W --file $D/etc/config 640 ours; cat $D/etc/config
        $W --file $D/etc/other 640 ours || echo status $?"#,
    );
    assert_eq!(said.stdout, "config Kept { ineffective: [\"A\", \"B\"] }\ntheirs\nstatus 73\n");
    let error = ["cannot write $D/etc/other: read-only file system", "  mount a volume or a tmpfs at $D/etc"];
    assert_eq!(told(&said)[1..], error);
}

#[test]
fn another_user_keeps_a_mounted_file_that_is_not_theirs() {
    let said = script(
        r#"chmod 777 $D; echo theirs >$D/mine; touch $D/config; mount --bind $D/mine $D/config
        setpriv --reuid 1000 --regid 1000 --clear-groups $W --file $D/config 640 ours; cat $D/config"#,
    );
    assert_eq!(said.stdout, "config Kept { ineffective: [\"A\", \"B\"] }\ntheirs\n");
}

#[test]
fn another_user_is_told_which_folder_it_cannot_write_to() {
    let said = script(
        r#"mkdir $D/data; echo old >$D/data/file
        W="setpriv --reuid 1000 --regid 1000 --clear-groups $W"
        $W --directory $D/data 755 || echo status $?; $W --file $D/data/file 640 new || echo status $?
        $W --directory $D/data/inner 755 || echo status $?; cat $D/data/file; ls -A $D/data"#,
    );
    assert_eq!(said.stdout, "status 73\nstatus 73\nstatus 73\nold\nfile\n");
    let expected = [
        "uid 1000 cannot write to $D/data",
        "  give the volume to it (`chown -R 1000:1000`, or `securityContext.fsGroup: 1000` in Kubernetes), or mount a \
         tmpfs at $D/data",
        "cannot write $D/data/file: permission denied",
        "  let uid 1000 write to $D/data, or mount a tmpfs there",
        "cannot make the folder $D/data/inner: permission denied",
        "  let uid 1000 write to $D/data, or mount a tmpfs there",
    ];
    assert_eq!(told(&said), expected);
}

#[test]
fn a_group_that_may_write_is_enough_and_its_set_group_id_bit_stays() {
    let said = script(
        r#"mkdir $D/data; chgrp 2000 $D/data; chmod 2775 $D/data
        setpriv --reuid 1000 --regid 1000 --groups 2000 $W --directory $D/data 700 --file $D/data/file 640 new
        stat -c '%a %u:%g' $D/data
        $W --owner 1000:1000 --directory $D/data 700; stat -c '%a %u:%g' $D/data"#,
    );
    assert_eq!(said.stdout, "file Created\n2775 0:2000\n2700 1000:1000\n");
}

#[test]
fn a_read_only_directory_is_an_error_that_says_what_to_mount() {
    let said = script(
        r#"mkdir $D/data; mount -t tmpfs -o ro,mode=755 none $D/data
        $W --owner 1000:1000 --directory $D/data 755 || echo status $?"#,
    );
    assert_eq!(said.stdout, "status 73\n");
    let expected = ["uid 1000 cannot write to $D/data, which is read-only", "  mount a volume or a tmpfs at $D/data"];
    assert_eq!(told(&said)[1..], expected);
}

/// Behaviours: 71.
#[test]
fn a_tree_is_given_to_the_owner_but_for_links_and_other_mounts() {
    let said = script(
        r#"mkdir -p $D/data/a/b $D/data/other $D/outside; touch $D/data/a/b/file $D/outside/file
        ln -s $D/outside/file $D/data/link; ln -s $D/outside $D/data/a/link; touch $D/data/mine
        chown 1000:1000 $D/data/mine
        mount --bind $D/outside $D/data/other
        umask 077
        $W --owner 1000:1000 --directory $D/data 750 --directory $D/data/new/deep 2750 --file $D/data/new/file 600 x
        cd $D; stat -c '%u:%g %n' data data/a data/a/b data/a/b/file data/link data/a/link
        stat -c '%a %u:%g %n' data/new data/new/deep data/new/file; stat -c '%u:%g %n' data/other outside outside/file
        $W --owner 1000:1000 --directory $D/data 750"#,
    );
    let expected = "file Created
1000:1000 data
1000:1000 data/a
1000:1000 data/a/b
1000:1000 data/a/b/file
1000:1000 data/link
1000:1000 data/a/link
755 1000:1000 data/new
2750 1000:1000 data/new/deep
600 1000:1000 data/new/file
0:0 data/other
0:0 outside
0:0 outside/file
";
    assert_eq!(said.stdout, expected);
    assert_eq!(told(&said), ["changed the owner of 6 entries of $D/data to 1000:1000"]);
}

/// Behaviours: 71.
#[test]
fn a_link_that_another_user_made_leads_root_nowhere() {
    let said = script(
        r#"mkdir -p $D/data $D/victim/log; echo secret >$D/victim/log/shadow; ln -s $D/victim $D/data/var
        chown -h 1000:1000 $D/data $D/data/var
        $W --owner 1000:1000 --directory $D/data/var/log 750 || echo status $?
        $W --owner 1000:1000 --directory $D/data/var/new 750 || echo status $?
        $W --owner 1000:1000 --file $D/data/var/file 600 x || echo status $?
        $W --owner 1000:1000 --file $D/data/var/log/shadow 600 secret\\n || echo status $?
        $W --owner 1000:1000 --file $D/data/var/new/file 600 x || echo status $?
        cd $D; stat -c '%u:%g %n' victim victim/log victim/log/shadow; ls -A victim victim/log"#,
    );
    let refused = "status 73\n".repeat(5);
    let victim = "0:0 victim\n0:0 victim/log\n0:0 victim/log/shadow\nvictim:\nlog\n\nvictim/log:\nshadow\n";
    assert_eq!(said.stdout, format!("{refused}{victim}"));
    let error = [
        "$D/data/var is a symbolic link to $D/victim that uid 1000 has made: it is not followed",
        "  remove it; name or mount the folder itself instead",
    ];
    assert_eq!(told(&said), error.repeat(5));
}

#[test]
fn a_link_of_roots_is_followed_where_nobody_else_can_write_and_nowhere_else() {
    let said = script(
        r#"mkdir -p $D/real $D/image/a $D/shared; ln -s ../real $D/image/link; ln -s image/a/../link $D/again
        ln -s $D/real $D/shared/link; chmod 1777 $D/shared
        $W --owner 1000:1000 --directory $D/again/inner 750 --file $D/again/file 600 x
        $W --owner 1000:1000 --file $D/shared/link/other 600 x || echo status $?
        $W --owner 1000:1000 --directory $D/shared/link/other 750 || echo status $?
        setpriv --reuid 1000 --regid 1000 --clear-groups $W --file $D/shared/link/inner/file 600 x
        cd $D/real; stat -c '%a %u:%g %n' * */*"#,
    );
    let expected = "file Created\nstatus 73\nstatus 73\nfile Created\n600 1000:1000 file\n750 1000:1000 inner\n\
                    600 1000:1000 inner/file\n";
    assert_eq!(said.stdout, expected);
    let error = [
        "$D/shared/link is a symbolic link to $D/real in a folder that others can write to: it is not followed",
        "  remove it; name or mount the folder itself instead",
    ];
    assert_eq!(told(&said), error.repeat(2));
}

/// Behaviours: 64.
#[test]
fn root_without_the_capability_is_told_so() {
    let said = script(
        r#"mkdir $D/data; W="setpriv --bounding-set -chown,-fowner --inh-caps -all $W"
        $W --owner 1000:1000 --file $D/data/file 640 x || echo status $?
        $W --owner 1000:1000 --directory $D/data 755 || echo status $?; ls -A $D/data"#,
    );
    assert_eq!(said.stdout, "status 73\nstatus 73\n");
    let expected = [
        "cannot give $D/data/file to 1000:1000: operation not permitted",
        "  add the capability CHOWN, or start the container as that user",
        "not allowed to give 1 entries of $D/data to 1000:1000",
        "cannot give $D/data to 1000:1000: operation not permitted",
        "  add the capability CHOWN, or start the container as that user",
    ];
    assert_eq!(told(&said), expected);
}

/// Behaviours: 75.
#[test]
fn files_of_an_earlier_configuration_are_removed_but_not_what_the_operator_put_in_their_place() {
    let said = script(
        r#"R=$D/run; W="$W --owner 1000:1000 --service $R --directory $R 755 --directory $R/in 750"
        $W --file $R/a 600 x --file $R/b 600 x --file $R/in/c 600 x --file $R/in/d 600 x --file $R/in/e 600 x
        stat -c '%a %u:%g' $R/.dl-entry.files
        echo theirs >$D/theirs; mount --bind $D/theirs $R/b; touch $R/in/mine
        rm $R/in/c $R/in/d; ln -s $D/theirs $R/in/c; mkdir $R/in/d
        $W --file $R/a 600 x; ls -A $R $R/in; sed 1d $R/.dl-entry.files
        mkdir $D/other; cp $R/in/mine $D/other/a; umount $R/b; $W --file $R/in/f 600 x; mv $R/in $R/old
        ln -s old $R/in; chown -h 1000 $R/in; W="${W% --directory*}"; $W; ls -A $R $R/in"#,
    );
    let expected = "a Created\nb Created\nc Created\nd Created\ne Created\n600 1000:1000\n\
                    a Unchanged\n$D/run:\n.dl-entry.files\na\nb\nin\n\n$D/run/in:\nc\nd\nmine\na\n\
                    f Created\n$D/run:\n.dl-entry.files\nb\nin\nold\n\n$D/run/in:\nc\nd\nf\nmine\n";
    assert_eq!(said.stdout, expected);
    let removed: Vec<&str> = told(&said).into_iter().filter(|line| line.starts_with("removed")).collect();
    let line = |path| format!("removed $D/run/{path}, left over from the previous configuration");
    assert_eq!(removed, [line("in/e"), line("a")]);
}

#[test]
fn a_file_of_an_earlier_configuration_that_cannot_be_removed_is_an_error() {
    let said = script(
        r#"R=$D/run; $W --service $R --file $R/a 600 x --file $R/b 600 x
        chown 1000:1000 $R/a $R/.dl-entry.files; chmod 1777 $R
        setpriv --reuid 1000 --regid 1000 --clear-groups $W --service $R --file $R/a 600 x || echo status $?"#,
    );
    assert_eq!(said.stdout, "a Created\nb Created\nstatus 73\n");
    let error = "cannot remove $D/run/b, left over from the previous configuration: operation not permitted\n  \
                 remove it: the service would use it\n";
    assert!(said.stderr.ends_with(error), "{}", said.stderr);
}

#[test]
fn a_folder_that_others_use_keeps_its_owner_and_mode_and_what_is_in_it() {
    let said = script(
        r#"mkdir -m 1777 $D/sticky; mkdir -m 777 $D/wide; mkdir -m 1755 $D/narrow; touch $D/sticky/theirs $D/wide/theirs
        chown 2000 $D/*/theirs; mount -t tmpfs -o mode=755 none /opt; touch /opt/theirs
        W="$W --owner 1000:1000"
        $W --directory $D/sticky 750 --directory $D/wide 750 --directory $D/sticky/inner 750
        $W --directory $D/narrow 750 || echo status $?; $W --directory /opt/. 755 || echo status $?
        $W --directory /opt/service 750; $W --directory /tmp 755; $W --directory /var/tmp 755
        stat -c '%a %u:%g %n' $D/* $D/*/* /opt /opt/*"#,
    );
    let expected = "status 73\nstatus 73\n1755 0:0 $D/narrow\n1777 0:0 $D/sticky\n777 0:0 $D/wide\n\
                    750 1000:1000 $D/sticky/inner\n644 2000:0 $D/sticky/theirs\n644 2000:0 $D/wide/theirs\n\
                    755 0:0 /opt\n750 1000:1000 /opt/service\n644 0:0 /opt/theirs\n";
    assert_eq!(said.stdout, expected);
    let error = [
        "uid 1000 cannot write to $D/narrow (mode 1755), which others use, too, and which is left as it is",
        "  name a folder that is the service's alone",
        "uid 1000 cannot write to /opt/. (mode 0755), which others use, too, and which is left as it is",
        "  name a folder that is the service's alone",
    ];
    assert_eq!(told(&said), error);
}

/// A tree of any depth is given with few descriptors: each key of an object store may be hundreds of folders deep.
#[test]
fn a_tree_deeper_than_there_are_descriptors_is_given() {
    let said = script(
        r#"mount -t tmpfs none $D; mkdir $D/data; cd $D/data
        python3 -c 'import os
for _ in range(2500):
    os.mkdir("dd"); open("file", "w").close(); os.chdir("dd")
'
        cd $D; (ulimit -n 48; $W --owner 1000:1000 --directory $D/data 750)
        find data ! -uid 1000 | wc -l; find data | wc -l; rm -rf data"#,
    );
    assert_eq!(said.stdout, "0\n5001\n");
    assert_eq!(told(&said), ["changed the owner of 5001 entries of $D/data to 1000:1000"]);
}

/// A folder whose walk was finished is not walked again, until its mark or its owner says otherwise.
#[test]
fn a_folder_that_was_given_is_not_walked_at_the_next_start() {
    let said = script(
        r#"mkdir -p $D/data/inner; give() { $W --owner $1 --directory $D/data 750; }
        python3 -c 'import os; os.setxattr("'$D'", "user.test", b"")' && echo marks
        give 1000:1000; touch $D/data/late; give 1000:1000; stat -c %u $D/data/late
        python3 -c 'import os; os.removexattr("'$D'/data", "user.dl-entry.owner")' || true
        give 1000:1000; stat -c %u $D/data/late; give 2000:2000; stat -c %u $D/data/late
        touch $D/data/later; chown 0:0 $D/data; give 2000:2000; stat -c %u $D/data/later"#,
    );
    let late = if said.stdout.starts_with("marks\n") { "marks\n0\n" } else { "1000\n" };
    assert_eq!(said.stdout, format!("{late}1000\n2000\n2000\n"), "{}", said.stderr);
}
