//! Peers that vanish without a word: the cable between them and the server is really cut.
//!
//! Server and client run in network namespaces of their own, joined by a virtual cable. All
//! cases wait at the same time, since the waiting is that of the real server: what is found
//! within two minutes is found after more than one and a half. Linux only, with `ip`, `unshare`
//! and `nsenter`, as root or where users may have namespaces; elsewhere it says that it was
//! skipped. Where `CI` is set and the machine gives namespaces, those programs must be there.
#![cfg(target_os = "linux")]

use crate::support::{Captured, PATIENCE, RealServer, skip};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What the protocol promises.
const TWO_MINUTES: Duration = Duration::from_secs(120);
/// A cable that is plugged in again after this long was never missed.
const SHORT_CUT: Duration = Duration::from_secs(15);
/// The server's end of every cable.
const NEAR: &str = "10.77.0.1";
/// The client's end.
const FAR: &str = "10.77.0.2";

/// Namespaces that live as long as this does: its process ends when its input does.
struct Namespaces {
    holder: Child,
    has_user: bool,
}

impl Namespaces {
    /// Starts what holds them; an error tells what is not possible here.
    fn hold(mut command: Command, has_user: bool) -> Result<Self, String> {
        command.args(["sh", "-c", "echo ready && read end"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawned = command.spawn();
        let holder = spawned.map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let mut this = Namespaces { holder, has_user };
        let output = this.holder.stdout.take().expect("a pipe");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        read.expect("a pipe can be read");
        if line == "ready\n" {
            return Ok(this);
        }
        let errors = this.holder.stderr.take().expect("a pipe");
        let told = std::io::read_to_string(errors).expect("a pipe can be read");
        Err(format!("{command:?} does not work here: {}", told.trim()))
    }

    /// A command that will run inside.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        if self.has_user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--", program]);
        command
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        let mut command = self.command("ip");
        command.args(arguments.split(' '));
        let output = command.output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr);
        let is_done = output.status.success();
        is_done
            .then_some(())
            .ok_or_else(|| format!("ip {arguments}: {told}"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It ends by that, or has never begun.
        let _ = self.holder.wait();
    }
}

/// A server's place and a client's place, and the one cable between them.
struct Cable {
    // The inner one first: it can only be left through the outer one.
    far: Namespaces,
    near: Namespaces,
}

impl Cable {
    fn lay() -> Result<Self, String> {
        let unshare = |has_user| {
            let mut command = Command::new("unshare");
            if has_user {
                command.args(["--user", "--map-root-user"]);
            }
            command.arg("--net");
            Namespaces::hold(command, has_user)
        };
        let near = unshare(false).or_else(|_| unshare(true))?;
        for program in ["ip", "nsenter"] {
            if let Err(error) = Command::new(program).arg("-V").output() {
                let reason = format!("cannot run {program}: {error}");
                // Here a cable could be cut: so nothing but the program is missing.
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}");
                return Err(reason);
            }
        }
        let mut inside = near.command("unshare");
        inside.arg("--net");
        let far = Namespaces::hold(inside, near.has_user)?;
        let peer = far.holder.id();
        near.ip(&format!(
            "link add cable type veth peer name cable netns {peer}"
        ))?;
        for (end, address) in [(&near, NEAR), (&far, FAR)] {
            end.ip(&format!("address add {address}/24 dev cable"))?;
            end.ip("link set cable up")?;
            end.ip("link set lo up")?;
        }
        Ok(Cable { far, near })
    }
}

/// A client program, with its input held open. Killed and reaped when dropped.
struct Talker {
    child: Child,
    input: ChildStdin,
    seen: Captured,
}

impl Talker {
    fn start(place: &Namespaces, server: SocketAddr) -> Self {
        let mut child = place
            .command(env!("CARGO_BIN_EXE_smolchat-client"))
            .args([server.ip().to_string(), server.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the client starts");
        let input = child.stdin.take().expect("a pipe");
        let seen = Captured::read_all(child.stdout.take().expect("a pipe"));
        seen.wait_for("has entered the chat");
        Talker { child, input, seen }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the client reads its input");
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chat of one who stays, beside the server, and one at the other end of a cable.
struct Scene {
    what: &'static str,
    stays: Talker,
    vanishes: Talker,
    _server: RealServer,
}

impl Scene {
    fn begin(what: &'static str, cable: &Cable) -> Self {
        let mut command = cable.near.command(env!("CARGO_BIN_EXE_smolchat-server"));
        command.args(["--host", NEAR, "--port", "0", "--no-web"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let server = RealServer::from_command(command);
        let mut stays = Talker::start(&cable.near, server.address);
        stays.type_line("/setname stays");
        stays.seen.wait_for("renamed to stays");
        let mut vanishes = Talker::start(&cable.far, server.address);
        vanishes.type_line("/setname vanishes");
        vanishes.type_line("hello");
        stays.seen.wait_for("vanishes: hello");
        vanishes.seen.wait_for("vanishes: hello");
        Scene {
            what,
            stays,
            vanishes,
            _server: server,
        }
    }

    fn has_left(&self) -> bool {
        let text = self.stays.seen.text();
        text.contains("vanishes has left the chat")
    }

    /// That the one who stays goes on, and finds the name free or not.
    fn check_the_rest(&mut self, is_free: bool) {
        self.stays.type_line("still here");
        self.stays.seen.wait_for("stays: still here");
        self.stays.type_line("/setname Vanishes");
        let told = match is_free {
            true => "stays renamed to Vanishes",
            false => "is taken, or looks like one that is",
        };
        self.stays.seen.wait_for(told);
        self.stays.type_line("/users");
        let number = if is_free { 1 } else { 2 };
        let users = format!("Connected users ({number}): ");
        self.stays.seen.wait_for(&users);
    }
}

/// All cables, or what is not possible here.
fn lay_cables() -> Result<[Cable; 4], String> {
    Ok([Cable::lay()?, Cable::lay()?, Cable::lay()?, Cable::lay()?])
}

#[test]
#[ignore = "slow"]
fn client_behind_a_cut_cable_leaves_within_two_minutes_and_a_silent_one_stays() {
    let [client_side, server_side, short_cut, untouched] = match lay_cables() {
        Ok(cables) => cables,
        Err(reason) => {
            return skip(&format!(
                "this machine gives no network namespaces to cut a cable in: {reason}"
            ));
        }
    };
    let mut cut_off = [
        Scene::begin("cut at the client, silent", &client_side),
        Scene::begin("cut at the client, data under way", &client_side),
        Scene::begin("cut at the server, silent", &server_side),
        Scene::begin("cut at the server, data under way", &server_side),
    ];
    let mut held = Scene::begin("cut for a short time", &short_cut);
    let mut silent = Scene::begin("never cut", &untouched);

    crate::support::Transcript::current().set_limit(3 * TWO_MINUTES);
    let cut = Instant::now();
    for end in [&client_side.far, &server_side.near, &short_cut.far] {
        end.ip("link set cable down").expect("a cable can be cut");
    }
    for talking in [1, 3] {
        cut_off[talking].stays.type_line("are you there?");
        cut_off[talking]
            .stays
            .seen
            .wait_for("stays: are you there?");
    }
    held.stays.type_line("said while the cable was cut");
    held.vanishes.type_line("typed while the cable was cut");
    held.stays
        .seen
        .wait_for("stays: said while the cable was cut");

    let mut found = [None; 4];
    let mut is_plugged_in = false;
    while found.contains(&None) {
        for (scene, found) in cut_off.iter().zip(&mut found) {
            if found.is_none() && scene.has_left() {
                *found = Some(cut.elapsed());
            }
            let is_late = found.is_none() && cut.elapsed() > TWO_MINUTES;
            assert!(!is_late, "{}: two minutes have passed", scene.what);
        }
        if !is_plugged_in && cut.elapsed() >= SHORT_CUT {
            let far = &short_cut.far;
            far.ip("link set cable up")
                .expect("a cable can be repaired");
            is_plugged_in = true;
        }
        // Nothing tells when the kernel gives up a connection but the departure itself.
        thread::sleep(Duration::from_millis(50));
    }
    for (scene, found) in cut_off.iter_mut().zip(found) {
        println!("{}: {found:?}", scene.what);
        // Not by the server's own timers, which end nobody for a silence.
        assert!(found > Some(PATIENCE), "{}: {found:?}", scene.what);
        scene.check_the_rest(true);
    }
    let (near, far) = (&held.stays.seen, &held.vanishes.seen);
    near.wait_for("vanishes: typed while the cable was cut");
    far.wait_for("stays: said while the cable was cut");
    for scene in [&mut held, &mut silent] {
        assert!(!scene.has_left(), "{}: it left", scene.what);
        scene.vanishes.type_line("I am here");
        scene.stays.seen.wait_for("vanishes: I am here");
        scene.check_the_rest(false);
    }
}
