//! The program `posthaste`: reads the command line and runs one command.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use posthaste::cli::{Cli, Command};
use posthaste::fault::Fault;
use posthaste::{commands, demo, dns, verify};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Serve => commands::serve(&cli.config),
        Command::Check => return commands::check(&cli.config),
        Command::Demo(options) => demo::run(options),
        Command::User(options) => commands::user(&cli.config, &options.verb),
        Command::Dkim(options) => commands::dkim(&cli.config, &options.verb),
        Command::Queue(options) => commands::queue(&cli.config, &options.verb),
        Command::Send(options) => commands::send(&cli.config, options),
        Command::Reports(options) => commands::reports(&cli.config, options),
        Command::Dns(options) => match dns::run(&cli.config, options) {
            Ok(status) => return status,
            Err(fault) => Err(fault),
        },
        Command::Verify(options) => verify::run(&cli.config, options),
        Command::MailHelper(options) => commands::mail_helper(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tell(&fault);
            ExitCode::FAILURE
        }
    }
}

fn tell(fault: &Fault) {
    // Nobody can be told when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{fault}");
}
