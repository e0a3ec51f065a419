//! Any sequence of steps: the room does what the model predicts.
//!
//! The input is a byte of limits, then lines. The first byte of a line chooses the step and its
//! user; the rest is what that user sends.

#![no_main]

#[path = "../../support/room_model/mod.rs"]
mod room_model;

use libfuzzer_sys::fuzz_target;
use room_model::{Model, Step};
use smolchat::chat::request::Request;
use smolchat::chat::room::Room;
use smolchat::chat::room::limits::RoomLimits;
use smolchat::protocol::{Dialect, decode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    let bits = usize::from(first);
    let limits = RoomLimits {
        max_clients: 1 + bits % 4,
        max_clients_per_address: [None, Some(1), Some(2), None][bits / 4 % 4],
        history_messages: bits / 16 % 4,
        announce_limit: bits / 64,
        ..RoomLimits::default()
    };
    let mut room = Room::new(limits.clone());
    let mut model = Model::new(limits);
    for line in rest.split(|&byte| byte == b'\n') {
        if let Some((&first, sent)) = line.split_first() {
            model.step(&mut room, step(usize::from(first), sent));
        }
    }
});

fn step(first: usize, sent: &[u8]) -> Step {
    let place = first / 8 % 4;
    match first % 8 {
        0 => Step::Enter(address(first / 8, sent)),
        1 => Step::Leave(place),
        2 if first >= 128 => Step::Jump(-86_400),
        2 => Step::Wait(sent.first().copied().unwrap_or_default().into()),
        3 => Step::Hello(place, sent.first().map(|&number| usize::from(number) % 16)),
        kind => {
            let dialect = [Dialect::Basic, Dialect::Extended][kind % 2];
            match decode::request(sent, dialect, 64) {
                Err(rejected) => Step::Refuse(place, rejected.error),
                // The room does not answer these, or they have a step of their own.
                Ok(
                    Request::Hello(_)
                    | Request::Page(_)
                    | Request::Search(_)
                    | Request::Ping(_)
                    | Request::Quit,
                ) => Step::Wait(0),
                Ok(request) if kind > 5 => Step::AskFromOutside(place, request),
                Ok(request) => Step::Ask(place, request),
            }
        }
    }
}

/// Returns one of few addresses, so that they repeat: IPv4, the same mapped to IPv6, and IPv6.
fn address(number: usize, sent: &[u8]) -> SocketAddr {
    let v4 = Ipv4Addr::new(10, 0, 0, 1);
    let last = u16::from(sent.first().copied().unwrap_or_default());
    let ip: IpAddr = match number % 3 {
        0 => v4.into(),
        1 => v4.to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, last / 128, 0, 0, 0, last).into(),
    };
    SocketAddr::new(ip, 1 + u16::try_from(number / 3 % 4).unwrap_or_default())
}
