//! stub
#[derive(Clone,Copy,Debug,PartialEq,Eq)]
/// x
pub enum Style {/// a
Plain,/// b
Coloured}
impl Style { /// x
pub fn of_stdout()->Style{Style::Plain} }
/// x
pub fn chat_line(out:&mut String, source:&str, message:&str, _s:Style){ out.push_str(&crate::text::for_terminal(source)); out.push_str(": "); out.push_str(&crate::text::for_terminal(message)); out.push('\n'); }
