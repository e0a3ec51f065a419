//! Any bytes in any chunks, some lines given up: the splitter does what looking at one byte
//! after the other would.
//!
//! The input: the longest line allowed, then chunks, each with its length before it; a length of
//! zero gives the unfinished line up.

#![no_main]

#[path = "../../support/line_model.rs"]
mod line_model;

use libfuzzer_sys::fuzz_target;
use line_model::{Feed, check};

fuzz_target!(|input: &[u8]| {
    let Some((&most, mut rest)) = input.split_first() else {
        return;
    };
    let mut feeds = Vec::new();
    while let Some((&length, tail)) = rest.split_first() {
        let (chunk, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        feeds.push(match length {
            0 => Feed::GiveUp,
            _ => Feed::Bytes(chunk.to_vec()),
        });
    }
    check(&feeds, usize::from(most % 40));
    // However it is cut, one stream has the same lines: as one chunk.
    check(&[Feed::Bytes(input.to_vec())], usize::from(most));
});
