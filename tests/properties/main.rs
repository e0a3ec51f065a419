//! Rules that hold for any input, tried on random input.

#[path = "../support/cases.rs"]
mod cases;
mod layout;
#[path = "../support/line_model.rs"]
mod line_model;
mod lines;
mod room;
#[path = "../support/room_model/mod.rs"]
mod room_model;
mod usernames;
