pub fn expand(t: &str, _v: &std::collections::BTreeMap<String,String>) -> Result<String, String> { Ok(t.to_owned()) }
