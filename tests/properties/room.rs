//! Properties of the room: what holds after any sequence of events.

use crate::room_model::{Model, Step};
use jiff::Timestamp;
use proptest::prelude::*;
use smolchat::chat::error::RequestError;
use smolchat::chat::message::Message;
use smolchat::chat::request::{Nonce, Request, SendMessage, SendPrivate};
use smolchat::chat::room::Room;
use smolchat::chat::room::history::History;
use smolchat::chat::room::limits::RoomLimits;
use smolchat::chat::username::Username;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Few addresses, so that they come back: IPv4, the same in IPv6 clothes, and two of one network.
fn address() -> impl Strategy<Value = SocketAddr> {
    const HOSTS: [&str; 5] = [
        "127.0.0.1",
        "127.0.0.2",
        "::ffff:127.0.0.1",
        "2001:db8::1",
        "2001:db8::2",
    ];
    (prop::sample::select(&HOSTS[..]), 1u16..4).prop_map(|(host, port)| {
        let host: IpAddr = host.parse().expect("an address");
        SocketAddr::new(host, port)
    })
}

/// Few names, so that they meet: equal ones, look-alikes, addresses, and some that are none.
fn requested_name() -> impl Strategy<Value = String> {
    const TEXTS: &[&str] = &[
        "a",
        "A",
        "а",
        " a ",
        "ａ",
        "ab",
        "AB",
        "аЬ",
        "rn",
        "m",
        "é",
        "e\u{301}",
        "É",
        "ß",
        "SS",
        "l",
        "I",
        "1",
        "O",
        "0",
        "[Server]",
        "b:",
        "a: b",
        "",
        "   ",
        "a\u{202E}b",
        "x renamed to y",
        "山",
        "👍🏽",
        "👍",
    ];
    prop_oneof![
        6 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        2 => "[ab]{1,2}",
        2 => address().prop_map(|address| Username::from_address(address).to_string()),
        1 => Just("x".repeat(33)),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => "[a-z\n]{1,5}".prop_map(|text| Request::SendMessage(text.into())),
        4 => requested_name().prop_map(|name| Request::SetName(name.into())),
        1 => Just(Request::History),
        1 => Just(Request::Users),
        2 => ("[a-z]{1,2}", nonce(), any::<bool>()).prop_map(|(text, nonce, action)| {
            Request::SendMessage(SendMessage { text: text.into(), action, nonce })
        }),
        3 => (requested_name(), nonce()).prop_map(|(target, nonce)| {
            let (target, text) = (target.into(), "psst".into());
            Request::Private(SendPrivate { target, text, nonce })
        }),
    ]
}

/// Few of them, so that they come again.
fn nonce() -> impl Strategy<Value = Option<Nonce>> {
    prop::option::of(
        prop::sample::select(&["1", "2", "3"][..])
            .prop_map(|text| Nonce::new(text).expect("a nonce")),
    )
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0usize..6;
    prop_oneof![
        5 => address().prop_map(Step::Enter),
        2 => place.clone().prop_map(Step::Leave),
        12 => (place.clone(), request()).prop_map(|(place, request)| Step::Ask(place, request)),
        3 => (place.clone(), prop::option::of(0usize..12)).prop_map(|(place, token)| {
            Step::Hello(place, token)
        }),
        2 => prop_oneof![Just(1u32), Just(29), Just(30), Just(100)].prop_map(Step::Wait),
        1 => prop_oneof![Just(7200), Just(-86_400)].prop_map(Step::Jump),
        1 => place.clone().prop_map(|place| Step::Refuse(place, RequestError::NotJson)),
        1 => (place.clone(), request())
            .prop_map(|(place, request)| Step::AskFromOutside(place, request)),
        4 => (address(), prop::option::of(0usize..12), requested_name())
            .prop_map(|(address, token, name)| Step::Join(address, token, name)),
        2 => (place.clone(), address()).prop_map(|(place, address)| Step::AttachStream(place, address)),
        2 => (place.clone(), address()).prop_map(|(place, address)| Step::Touch(place, address)),
        1 => place.clone().prop_map(Step::DetachStream),
        1 => place.prop_map(Step::Quit),
    ]
}

/// Steps, among them somebody who is refused again and again.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stubborn = (0usize..3, 14usize..19)
        .prop_map(|(place, times)| vec![Step::Refuse(place, RequestError::NotUtf8); times]);
    let piece = prop_oneof![40 => step().prop_map(|step| vec![step]), 1 => stubborn];
    prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

fn limits() -> impl Strategy<Value = RoomLimits> {
    let per_address = prop_oneof![2 => Just(None), 1 => (1usize..3).prop_map(Some)];
    (1usize..6, per_address, 0usize..4, 0usize..6).prop_map(
        |(max_clients, max_clients_per_address, history_messages, announce_limit)| RoomLimits {
            max_clients,
            max_clients_per_address,
            history_messages,
            announce_limit,
            token_lifetime: Duration::from_secs(100),
            ..RoomLimits::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(crate::cases::cases(2000)) })]

    #[test]
    fn room_matches_the_model(limits in limits(), steps in steps()) {
        let mut room = Room::new(limits.clone());
        let mut model = Model::new(limits);
        for step in steps {
            model.step(&mut room, step);
        }
    }

    #[test]
    fn the_history_keeps_the_newest_that_fit(
        max_messages in 0usize..6, max_bytes in 0usize..2000, lengths in prop::collection::vec(0usize..400, 0..30),
    ) {
        let mut history = History::new(max_messages, max_bytes);
        let mut all: Vec<Arc<Message>> = Vec::new();
        let name = Username::from_address(([127, 0, 0, 1], 1).into());
        for (id, length) in (1..).zip(lengths) {
            let text = "x".repeat(length).into();
            let message = Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name.clone(), text));
            all.push(message.clone());
            history.push(message);
            // The longest tail within both bounds.
            let fits = |from: usize| {
                let tail = &all[from..];
                let bytes: usize = tail.iter().map(|message| message.bytes()).sum();
                tail.len() <= max_messages && bytes <= max_bytes
            };
            let from = (0..=all.len()).find(|&from| fits(from)).expect("nothing fits always");
            let kept: Vec<u64> = history.messages().map(|message| message.id).collect();
            let expected: Vec<u64> = all[from..].iter().map(|message| message.id).collect();
            prop_assert_eq!(kept, expected);
            prop_assert!(history.bytes() <= max_bytes);
        }
    }
}
