//! `group create | add | remove | list`.

use clap::Subcommand;
use im_proto::client::Group;
use im_proto::{GroupId, UserId};
use serde_json::json;

use super::home::Home;
use super::output::{Output, harmless};
use super::{Connected, Failure, Global};

/// Groups asked for at once.
const PAGE: u16 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group; the maker is its owner and a member.
    Create {
        /// The group's id.
        group: GroupId,
        /// Further members.
        members: Vec<UserId>,
        /// Its name for people; the id when left out.
        #[arg(long)]
        name: Option<String>,
    },
    /// Add members.
    Add {
        /// The group's id.
        group: GroupId,
        /// Who comes.
        #[arg(required = true)]
        members: Vec<UserId>,
    },
    /// Remove members; a member may remove itself.
    Remove {
        /// The group's id.
        group: GroupId,
        /// Who goes.
        #[arg(required = true)]
        members: Vec<UserId>,
    },
    /// List the groups that the user belongs to.
    List,
}

pub(super) async fn run(home: &Home, global: &Global, output: &Output, command: GroupCommand) -> Result<(), Failure> {
    let connected = Connected::for_a_question(home, global).await?;
    let client = &connected.client;
    match command {
        GroupCommand::Create { group, members, name } => {
            let name = name.unwrap_or_else(|| group.to_string());
            show(output, &connected.ask(client.create_group(group, name, members)).await?)?;
        }
        GroupCommand::Add { group, members } => {
            show(output, &connected.ask(client.change_members(group, members, vec![])).await?)?;
        }
        GroupCommand::Remove { group, members } => {
            show(output, &connected.ask(client.change_members(group, vec![], members)).await?)?;
        }
        GroupCommand::List => {
            let mut after = None;
            loop {
                let page = connected.ask(client.groups(after.clone(), PAGE)).await?;
                page.groups.iter().try_for_each(|group| show(output, group))?;
                match page.groups.last() {
                    Some(last) if page.has_more => after = Some(last.group.clone()),
                    _ => break,
                }
            }
        }
    }
    client.close().await;
    Ok(())
}

fn show(output: &Output, group: &Group) -> Result<(), Failure> {
    let members: Vec<_> = group.members.iter().map(UserId::as_str).collect();
    output.line(
        || {
            let name = if group.name == group.group.as_str() { String::new() } else { format!(" ({})", harmless(&group.name)) };
            format!("group:{}{name}  owner {}  members {}", group.group, group.owner, members.join(", "))
        },
        || json!({ "group": group.group.as_str(), "name": group.name, "owner": group.owner.as_str(), "members": members }),
    )
}
