//! client::terminal
pub mod draw_queue;
pub mod editor;
pub mod keys;
pub mod shared;
pub mod text_block;
pub mod view;
pub mod wrap;
