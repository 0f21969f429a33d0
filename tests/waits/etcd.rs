use std::time::Duration;

use crate::expect_pending;
use crate::expect_ready;
use crate::run;
use crate::server::{self, Folder, Server};
use crate::watch;

struct Member {
    name: String,
    client: String,
    peer: String,
}

fn member(number: usize) -> Member {
    let address = || format!("http://127.0.0.1:{}", server::free_port());
    Member { name: format!("m{number}"), client: address(), peer: address() }
}

fn start(member: &Member, cluster: &str, folder: &Folder) -> Server {
    let program = server::find("etcd", &[], "apt-get install etcd-server");
    let data = folder.join(&member.name).display().to_string();
    let arguments = [
        ["--name", &member.name],
        ["--data-dir", &data],
        ["--listen-client-urls", &member.client],
        ["--advertise-client-urls", &member.client],
        ["--listen-peer-urls", &member.peer],
        ["--initial-advertise-peer-urls", &member.peer],
        ["--initial-cluster", cluster],
    ];
    Server::start(&program, arguments.as_flattened(), &[], None)
}

#[test]
fn a_cluster_is_ready_once_two_of_three_members_have_a_leader() {
    let folder = Folder::new("etcd");
    let members = [member(1), member(2), member(3)];
    let cluster = members.iter().map(|one| format!("{}={}", one.name, one.peer)).collect::<Vec<_>>().join(",");
    let clients: Vec<_> = members.iter().map(|one| one.client.trim_start_matches("http://")).collect();
    let url = format!("etcd://{}", clients.join(","));
    let _first = start(&members[0], &cluster, &folder);
    run(async {
        let told = expect_pending(&url).await;
        let refused = format!("{}/health: connection refused", members[2].client);
        assert!(told.contains(&refused), "{told}");
        let second = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            start(&members[1], &cluster, &folder)
        };
        let urls = [url.as_str()];
        let ((outcome, _), _second) = tokio::join!(watch(&urls, Duration::from_secs(30)), second);
        outcome.unwrap_or_else(|pending| panic!("{pending}"));
        expect_ready(&format!("tcp://{}", clients[0])).await;
    });
}
