use super::*;
use crate::chat::event::LeaveReason;
use crate::chat::record::{NonceRecord, RestoredState, SessionRecord};
use crate::chat::request::{Hello, Nonce, SendMessage};
use crate::limits::{GRACE, TOKEN_LIFETIME_WITH_STORE};
use std::time::Duration;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn start() -> RoomTime {
    RoomTime {
        wall: "2026-01-01T00:00:00Z".parse().unwrap(),
        steady: SignedDuration::ZERO,
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn said_once(text: &str) -> Request {
    Request::SendMessage(SendMessage {
        text: text.into(),
        action: false,
        nonce: Nonce::new("n"),
    })
}

fn hello(token: Option<Token>) -> Request {
    Request::Hello(Hello {
        client: "test/1".into(),
        token,
        after: None,
    })
}

fn is_resumed(effects: &[Effect], user: UserId) -> bool {
    matches!(effects.first(), Some(Effect::Resumed(resumed)) if *resumed == user)
}

fn is_said(effects: &[Effect]) -> bool {
    matches!(effects.first(), Some(Effect::Public(_)))
}

#[test]
fn jumps_of_the_wall_clock_end_no_session_nonce_or_grace_time() {
    for jump in [2 * 3600, -24 * 3600, 100 * 24 * 3600] {
        let mut room = Room::new(RoomLimits::default());
        let mut now = start();
        room.set_time(now);
        let mut new_token = || Token::new([1; 16]);
        let (ada, _) = room.enter(address(1)).unwrap();
        room.request(ada, hello(None), &mut new_token);
        room.request(ada, said_once("hi"), &mut new_token);
        now.steady += SECOND * 60;
        room.set_time(now);
        assert!(room.disconnect(ada, LeaveReason::Lost).is_empty());
        now.wall += SECOND * jump;
        room.set_time(now);
        assert!(room.expire().is_empty(), "after a jump of {jump} s");
        let (back, _) = room.enter(address(2)).unwrap();
        let effects = room.request(back, hello(Some(new_token())), &mut new_token);
        assert!(is_resumed(&effects, ada));
        assert!(!is_said(&room.request(
            ada,
            said_once("hi"),
            &mut new_token
        )));
        room.disconnect(ada, LeaveReason::Lost);
        now.steady += SignedDuration::try_from(GRACE).unwrap();
        assert_eq!(room.next_expiry(), Some(now.steady));
        room.set_time(now);
        assert_eq!(room.expire().len(), 1, "its grace time is over");
    }
}

#[test]
fn stored_times_are_converted_once() {
    let token = Token::new([1; 16]);
    let lifetime = TOKEN_LIFETIME_WITH_STORE;
    let stored = |age: SignedDuration| {
        let wall = start().wall - age;
        RestoredState {
            sessions: vec![SessionRecord {
                is_present: false,
                ..stored_session(1, "ada", wall)
            }],
            nonces: vec![NonceRecord {
                token: token.hash(),
                nonce: session_table::nonce_hash(&Nonce::new("n").unwrap()),
                id: Some(1),
                time: wall,
            }],
            ..RestoredState::default()
        }
    };
    let limits = RoomLimits {
        token_lifetime: lifetime,
        ..RoomLimits::default()
    };
    let left = Duration::from_secs(10);
    let old = SignedDuration::try_from(lifetime - left).unwrap();
    // The clock was set back between the runs: the session is as good as new.
    for (age, expected) in [(old, left), (-old, lifetime)] {
        let (mut room, _) = Room::restore(limits.clone(), stored(age), start());
        let end = SignedDuration::try_from(expected).unwrap();
        assert_eq!(room.next_expiry(), Some(end));
        let mut new_token = || Token::new([2; 16]);
        let wall = start().wall + SECOND * 86_400;
        room.set_time(RoomTime { wall, ..start() });
        let (user, _) = room.enter(address(1)).unwrap();
        room.request(user, hello(Some(token.clone())), &mut new_token);
        assert_eq!(room.name(user).map(Username::as_str), Some("ada"));
        assert!(!is_said(&room.request(
            user,
            said_once("hi"),
            &mut new_token
        )));
    }
}

fn stored_session(number: u8, name: &str, used: Timestamp) -> SessionRecord {
    SessionRecord {
        token: Token::new([number; 16]).hash(),
        name: Username::from_stored(name),
        has_chosen: true,
        is_present: true,
        used,
        last_private: 0,
    }
}

/// Returns the names of the users, in order of arrival.
fn names(room: &Room) -> String {
    let names: Vec<_> = room.users().map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

#[test]
fn session_in_use_at_the_end_of_the_server_is_not_expired() {
    let year_ago = start().wall - SECOND * 86_400 * 365;
    let mut stored = RestoredState {
        present: vec![(Username::from_stored("ada"), year_ago)],
        sessions: ["ada", "bob"]
            .map(|name| stored_session(name.as_bytes()[0], name, year_ago))
            .into(),
        ..RestoredState::default()
    };
    stored.sessions[1].is_present = false;
    let (mut room, _) = Room::restore(RoomLimits::default(), stored, start());
    room.expire();
    assert_eq!(names(&room), "ada");
    let is_known = |name: &str| {
        let token = Token::new([name.as_bytes()[0]; 16]).hash();
        room.sessions.find(&token, SignedDuration::ZERO).is_some()
    };
    assert_eq!(["ada", "bob"].map(is_known), [true, false]);
}

#[test]
fn requests_of_a_browser_without_a_stream_use_its_session() {
    let mut room = Room::new(RoomLimits::default());
    let ip = address(0).ip();
    let joined = room.join(None, ip, "ada", &mut || Token::new([1; 16]));
    let user = joined.unwrap().user;
    let mut now = start();
    for _ in 0..200 {
        now.steady += SECOND * 20;
        room.set_time(now);
        assert!(room.expire().is_empty());
        room.touch(user, ip).unwrap();
    }
}

#[test]
fn stored_names_follow_the_present_rules() {
    let wall = start().wall;
    let arrived = ["eva", "[Server] Notice", "Ada", "ada."].map(Username::from_stored);
    let sessions = [(1, "ada."), (2, "Ada"), (3, "[Server] Notice"), (4, "eva")];
    let stored = RestoredState {
        present: arrived.map(|name| (name, wall)).into(),
        sessions: sessions
            .map(|(n, name)| stored_session(n, name, wall))
            .into(),
        ..RestoredState::default()
    };
    let (mut room, effects) = Room::restore(RoomLimits::default(), stored, start());
    // The later one of two equal names loses it.
    assert_eq!(names(&room), "eva Ada");
    assert_eq!(effects.len(), 2, "the others have left");
    for (number, notice) in [
        (
            1,
            Some("Your name ada. is taken by now; choose another, or keep your address"),
        ),
        (
            3,
            Some(
                "Your name [Server] Notice is not allowed any more; choose another, or keep your \
                 address",
            ),
        ),
        (2, None),
    ] {
        let (user, _) = room.enter(address(number.into())).unwrap();
        let token = Some(Token::new([number; 16]));
        let effects = room.request(user, hello(token), &mut || unreachable!());
        let notices = effects.iter().filter_map(|effect| match effect {
            Effect::Reply(Reply::Notice(sentence)) => Some(sentence.as_str()),
            _ => None,
        });
        assert_eq!(notices.collect::<Vec<_>>(), Vec::from_iter(notice));
    }
    assert_eq!(names(&room), "eva Ada 127.0.0.1:1 127.0.0.1:3");
}

/// Connects, says hello, optionally speaks, and quits. Returns the token.
fn visit(room: &mut Room, address: [u8; 4], number: u32, speaks: bool) -> Token {
    let mut now = room.now;
    now.steady += SECOND;
    room.set_time(now);
    let (user, _) = room.enter(SocketAddr::from((address, 1))).unwrap();
    let token = Token::new(u128::from(number).to_be_bytes());
    room.request(user, hello(None), &mut || token.clone());
    if speaks {
        room.request(user, said_once("hi"), &mut || token.clone());
    }
    room.disconnect(user, LeaveReason::Quit);
    token
}

#[test]
fn strangers_do_not_push_out_the_sessions_of_others() {
    let limits = RoomLimits {
        max_clients: 10,
        ..RoomLimits::default()
    };
    let most = 10 * limits.max_clients;
    let (mut room, _) = Room::restore(limits, RestoredState::default(), start());
    room.set_time(start());
    let class: Vec<_> = (0..30)
        .map(|number| visit(&mut room, [10, 0, 0, 1], number, true))
        .collect();
    room.take_records();
    for number in 100..400 {
        visit(&mut room, [10, 0, 0, 2], number, false);
    }
    assert!(
        room.take_records().is_empty(),
        "silent sessions are not stored"
    );
    let last = (400..700).map(|number| visit(&mut room, [10, 0, 0, 2], number, true));
    let last = last.last().unwrap();
    for token in class.iter().chain([&last]) {
        assert!(room.sessions.find(&token.hash(), room.now.steady).is_some());
    }
    let kept = (0..700_u32).filter(|number| {
        let token = Token::new(u128::from(*number).to_be_bytes());
        room.sessions.find(&token.hash(), room.now.steady).is_some()
    });
    assert_eq!(kept.count(), most);
}

#[test]
fn grace_time_is_for_users_who_stayed_and_spoke() {
    for (seconds, speaks, leaves) in [(4, true, true), (5, false, true), (5, true, false)] {
        let mut room = Room::new(RoomLimits::default());
        let mut now = start();
        room.set_time(now);
        let (user, _) = room.enter(address(1)).unwrap();
        room.request(user, hello(None), &mut || Token::new([1; 16]));
        if speaks {
            room.request(user, said_once("hi"), &mut || unreachable!());
        }
        now.steady += SECOND * seconds;
        room.set_time(now);
        let effects = room.disconnect(user, LeaveReason::Lost);
        assert_eq!(effects.len() == 1, leaves, "{seconds} s, {speaks}");
    }
}

#[test]
fn absent_users_are_bounded_and_strangers_leave_first() {
    let limits = RoomLimits {
        max_clients: 4,
        min_stay: Duration::ZERO,
        ..RoomLimits::default()
    };
    let mut room = Room::new(limits);
    for number in 0..20_u8 {
        let mut now = start();
        now.steady += SECOND * i32::from(number);
        room.set_time(now);
        let host = if number < 2 { 1 } else { 2 };
        let address = SocketAddr::from(([10, 0, 0, host], number.into()));
        let (user, _) = room.enter(address).unwrap();
        room.request(user, hello(None), &mut || Token::new([number; 16]));
        room.request(user, said_once("hi"), &mut || unreachable!());
        room.disconnect(user, LeaveReason::Lost);
    }
    assert_eq!(
        names(&room),
        "10.0.0.1:0 10.0.0.1:1 10.0.0.2:18 10.0.0.2:19"
    );
}

#[test]
fn browser_users_without_a_stream_give_way() {
    for (max_clients, per_address) in [(3, None), (10, Some(3)), (3, Some(3))] {
        let mut room = Room::new(RoomLimits {
            max_clients,
            max_clients_per_address: per_address,
            ..RoomLimits::default()
        });
        room.set_time(start());
        let ip = address(0).ip();
        let mut token = 0;
        let mut join = |room: &mut Room, name: &str| {
            token += 1;
            let joined = room.join(None, ip, name, &mut || Token::new([token; 16]));
            joined.map(|joined| joined.user)
        };
        for name in ["a", "b", "c", "d"] {
            join(&mut room, name).unwrap();
        }
        assert_eq!(names(&room), "b c d");
        for name in ["e", "f"] {
            let user = join(&mut room, name).unwrap();
            room.attach_stream(user, ip).unwrap();
        }
        assert_eq!(names(&room), "d e f");
        let (_, effects) = room.enter(address(1)).unwrap();
        assert_eq!(effects.len(), 2, "d has left");
        assert!(join(&mut room, "g").is_err(), "streams give no way");
        let error = room.enter(address(2)).map(|_| ()).unwrap_err();
        assert_eq!(error == JoinError::AddressFull, per_address.is_some());
    }
}
