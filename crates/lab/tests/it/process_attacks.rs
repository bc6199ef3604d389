//! A process that becomes another one: by exec, or by another taking its number.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use sekisho_host::Process;
use sekisho_proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::transport::Endpoint;

use crate::world::{World, copy_program};

fn helper(program: &std::path::Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", "--nocapture", &format!("process_attacks::{name}")]);
    command
}

#[test]
fn law_l11_exec_after_connect_is_noticed() {
    let world = World::start();
    let copy = world.path("privileged");
    copy_program(&std::env::current_exe().unwrap(), &copy);
    world.register("/own/privileged", &[format!("unix:path:{}", copy.display())]);
    // The program itself gets the identity.
    let speak = |mut command: Command| {
        let output = command.env("SOCKET", world.agent_socket()).env("COPY", &copy).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let honest = speak(helper(&copy, "helper_connects_and_speaks"));
    assert!(honest.contains("got spiffe://example.org/own/privileged"), "{honest}");
    // One that connected as another program, and became it afterwards, does not.
    let exec = speak(helper(&std::env::current_exe().unwrap(), "helper_connects_and_becomes_another"));
    assert!(exec.contains("another executable than when it connected"), "{exec}");
    crate::world::eventually("it is on record", || {
        let listed = world.json(&["decisions", "--effect", "refusal"]);
        listed.to_string().contains("another executable than when it connected").then_some(())
    });
}

/// In a mount namespace of its own a process puts itself where another program stands.
#[test]
fn law_l11_a_private_path_gives_no_selector() {
    let world = World::start();
    let (privileged, evil) = (world.path("privileged"), world.path("evil"));
    for copy in [&privileged, &evil] {
        copy_program(&std::env::current_exe().unwrap(), copy);
    }
    world.register("/own/privileged", &[format!("unix:path:{}", privileged.display())]);
    let helper = "--ignored --exact --nocapture process_attacks::helper_connects_and_speaks";
    let script =
        format!("mount --bind {} {} && exec {} {helper}", evil.display(), privileged.display(), privileged.display());
    let spoken = |mut command: Command| {
        let output = command.env("SOCKET", world.agent_socket()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let honest = spoken(self::helper(&privileged, "helper_connects_and_speaks"));
    assert!(honest.contains("got spiffe://example.org/own/privileged"), "{honest}");
    let probe = format!("mount --bind {} {}", evil.display(), privileged.display());
    let possible = Command::new("unshare").args(["-Urm", "sh", "-c", &probe]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!("no user namespace here: the attack is not tried");
        return;
    }
    let mut unshared = Command::new("unshare");
    unshared.args(["-Urm", "sh", "-c", &script]);
    let forged = spoken(unshared);
    assert!(forged.contains("refused: ") && !forged.contains("got "), "{forged}");
}

fn connect() -> OwnedFd {
    UnixStream::connect(std::env::var_os("SOCKET").unwrap()).unwrap().into()
}

fn speak_over(stream: UnixStream) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let mut stream = Some(tokio::net::UnixStream::from_std(stream).unwrap());
        let connector = tower_service(move || stream.take());
        let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap();
        let dress = |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
            Ok(request)
        };
        let mut client = SpiffeWorkloadApiClient::with_interceptor(channel, dress);
        let answer = async { client.fetch_x509svid(X509svidRequest {}).await?.into_inner().message().await };
        match answer.await {
            Ok(Some(answer)) => println!("got {}", answer.svids[0].spiffe_id),
            other => println!("refused: {other:?}"),
        }
    });
}

type Io = hyper_util::rt::TokioIo<tokio::net::UnixStream>;

fn tower_service(
    mut next: impl FnMut() -> Option<tokio::net::UnixStream>,
) -> impl tower::Service<
    tonic::transport::Uri,
    Response = Io,
    Error = std::io::Error,
    Future = std::future::Ready<std::io::Result<Io>>,
> {
    tower::service_fn(move |_| {
        let stream = next().ok_or_else(|| std::io::Error::other("one connection only"));
        std::future::ready(stream.map(hyper_util::rt::TokioIo::new))
    })
}

#[test]
#[ignore = "a helper that `law_l11_exec_after_connect_is_noticed` starts"]
fn helper_connects_and_speaks() {
    let stream = match std::env::var_os("CONNECTED") {
        Some(_) => UnixStream::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap()),
        None => UnixStream::from(connect()),
    };
    speak_over(stream);
}

#[test]
#[ignore = "a helper that `law_l11_exec_after_connect_is_noticed` starts"]
fn helper_connects_and_becomes_another() {
    let stream = connect();
    // The agent holds the process that connected.
    std::thread::sleep(Duration::from_millis(500));
    let copy = std::env::var_os("COPY").unwrap();
    let mut other = helper(copy.as_ref(), "helper_connects_and_speaks");
    let error = other.env("CONNECTED", "1").stdin(Stdio::from(stream)).exec();
    panic!("exec: {error}");
}

#[tokio::test]
async fn law_l11_a_reused_pid_is_another_process() {
    let mut first = Command::new("sleep").arg("100").spawn().unwrap();
    let number = first.id().cast_signed();
    let held = Process::open(number).unwrap();
    held.check_alive().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(held.check_alive().is_err());
    if std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).is_err() {
        println!("not root: that the number is given again is not tried");
        return;
    }
    for _ in 0..50 {
        let mut second = Command::new("sleep").arg("100").spawn().unwrap();
        let same = second.id().cast_signed() == number;
        let alive = held.check_alive();
        second.kill().unwrap();
        second.wait().unwrap();
        if same {
            assert!(alive.is_err(), "a new process passed for the one that is gone");
            return;
        }
        std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).unwrap();
    }
    println!("the number was never given again; other processes took it");
}
