//! A step's commands as one script for a shell, which tells each command before it runs it.

/// The shell of a step that names none.
pub const SHELL: &str = "/bin/sh";

/// The script: it ends at the first command that fails, and shows `+ command` before each.
pub fn script(commands: &[String]) -> String {
    let mut script = "set -e\n".to_owned();
    for command in commands {
        script.push_str("\nprintf '+ %s\\n' ");
        script.push_str(&quote(command));
        script.push('\n');
        script.push_str(command);
        script.push('\n');
    }
    script
}

/// One word of a command line, as people would write it.
pub fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    let is_bare = !text.is_empty() && text.bytes().all(is_plain);
    if is_bare { text.to_owned() } else { quote(text) }
}

/// Any text as one word: between single quotes only the quote itself has a meaning.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn run(commands: &[&str]) -> (String, Option<i32>) {
        let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
        let output = Command::new(SHELL).args(["-e", "-c", &script(&commands)]).output().expect("a shell");
        (String::from_utf8(output.stdout).expect("text"), output.status.code())
    }

    #[test]
    fn each_command_is_told_as_written_and_the_first_failure_is_the_last_command() {
        let (told, code) = run(&[r#"printf '%s\n' "it's \\ $0" | cut -c 1-4"#, "sh -c 'exit 7'", "echo never"]);
        assert_eq!(told, "+ printf '%s\\n' \"it's \\\\ $0\" | cut -c 1-4\nit's\n+ sh -c 'exit 7'\n");
        assert_eq!(code, Some(7));
    }

    #[test]
    fn commands_share_one_shell_and_may_have_several_lines() {
        let (told, code) = run(&["x=1", "if true\nthen echo $x\nfi"]);
        assert_eq!((told.as_str(), code), ("+ x=1\n+ if true\nthen echo $x\nfi\n1\n", Some(0)));
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_would_see_more_in_them() {
        assert_eq!(word("+refs/heads/main:"), "+refs/heads/main:");
        assert_eq!(word("a;b'c"), r"'a;b'\''c'");
        assert_eq!((word(""), word("$(x)"), word("~x")), ("''".to_owned(), "'$(x)'".to_owned(), "'~x'".to_owned()));
    }
}
