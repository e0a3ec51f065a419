//! stub
/// s
#[derive(Debug)]
pub struct Stop(String,u8);
impl Stop { /// x
pub fn tell(&self)->u8{ println!("{}", self.0); self.1 } }
/// x
pub fn parse<T: argh::FromArgs>(p:&str)->Result<T,Stop>{ let a:Vec<String>=std::env::args().skip(1).collect(); let a:Vec<&str>=a.iter().map(|s|s.as_str()).collect(); T::from_args(&[p],&a).map_err(|e|Stop(e.output, if e.status.is_ok(){0}else{2})) }
