//! Any bytes in any chunks, with skipped lines: the decoder does what the model predicts.
//!
//! The input is the longest allowed line, then chunks, each after its length. A length of zero
//! skips the unfinished line.

#![no_main]

#[path = "../../support/line_model.rs"]
mod line_model;

use libfuzzer_sys::fuzz_target;
use line_model::{Input, check};

fuzz_target!(|input: &[u8]| {
    let Some((&longest, mut rest)) = input.split_first() else {
        return;
    };
    let mut inputs = Vec::new();
    while let Some((&length, tail)) = rest.split_first() {
        let (chunk, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        inputs.push(match length {
            0 => Input::SkipLine,
            _ => Input::Bytes(chunk.to_vec()),
        });
    }
    check(&inputs, usize::from(longest % 40));
    check(&[Input::Bytes(input.to_vec())], usize::from(longest));
});
