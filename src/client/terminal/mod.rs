//! The line editor of a terminal, and the chat view above the edited line.

pub(crate) mod background;
pub(crate) mod draw_queue;
pub(crate) mod editor;
pub(crate) mod fold;
pub(crate) mod job_control;
pub(crate) mod keys;
pub(crate) mod recognition;
pub(crate) mod shared;
pub(crate) mod text_block;
pub(crate) mod view;
pub(crate) mod wrap;
