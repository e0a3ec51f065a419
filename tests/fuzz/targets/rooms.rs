//! Any sequence of events: the room is what the model says.
//!
//! The input: a byte of bounds, then lines. The first byte of a line says what happens and to
//! whom; the rest of it is what that user sends.

#![no_main]

#[path = "../../support/room_model/mod.rs"]
mod room_model;

use libfuzzer_sys::fuzz_target;
use room_model::{Model, Step};
use smolchat::chat::room::limits::RoomLimits;
use smolchat::chat::request::Request;
use smolchat::protocol::{Dialect, decode};
use smolchat::chat::room::Room;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

fuzz_target!(|input: &[u8]| {
    let Some((&bounds, rest)) = input.split_first() else {
        return;
    };
    let bounds = usize::from(bounds);
    let limits = RoomLimits {
        max_clients: 1 + bounds % 4,
        max_clients_per_address: [None, Some(1), Some(2), None][bounds / 4 % 4],
        history_messages: bounds / 16 % 4,
        announce_limit: bounds / 64,
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
        2 => Step::Wait(sent.first().copied().unwrap_or_default().into()),
        3 => Step::Hello(place, sent.first().map(|&number| usize::from(number) % 16)),
        kind => {
            let dialect = [Dialect::Basic, Dialect::Extended][kind % 2];
            match decode::request(sent, dialect, 64) {
                Err(refused) => Step::Refuse(place, refused.error),
                // What is not answered by the room, or has a step of its own.
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

/// Few addresses, so that they come back; IPv4, the same in IPv6 clothes, and IPv6.
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
