//! Answers every message with the same text.
//!
//! ```text
//! cargo run -p im-client --example echo_bot -- 127.0.0.1:8910 127.0.0.1:8000 dev-ca.pem USER PASSWORD
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use im_client::accounts::Accounts;
use im_client::{Client, ClientConfig, Event, FilePosition, RefreshingToken, State, TlsDial};
use im_proto::{DeviceId, Target};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [gate, http, ca, user, password] = arguments()?;
    let accounts = Accounts::new(http);
    let login = accounts.login(&user, &password).await?;
    // A program that runs for longer than its access token hands the refresh token to the SDK.
    let tokens = RefreshingToken::new(accounts, login.access_token, login.refresh_token, Box::new(|_| ()));
    let (client, mut events) = Client::start(
        ClientConfig::new(vec![gate], DeviceId::new("echo-bot")?),
        Arc::new(TlsDial::new(Path::new(&ca))?),
        Arc::new(tokens),
        // The bot goes on where it stopped, and answers no message twice.
        Arc::new(FilePosition::new(format!("echo-bot-{user}.json"))),
    )
    .await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Message(entry) if entry.message.sender.as_str() != user => {
                let message = entry.message;
                let to = match message.conversation.as_group() {
                    Some(group) => Target::Group(group),
                    None => Target::User(message.sender),
                };
                let ack = client.send(to, message.content_type, message.payload).await?;
                println!("answered in {} at {}", ack.conversation, ack.seq);
            }
            Event::State(State::Ended(cause)) => return Err(cause.into()),
            _ => {}
        }
    }
    Ok(())
}

fn arguments() -> Result<[String; 5], &'static str> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    arguments.try_into().map_err(|_| "usage: echo_bot GATE HTTP CA_FILE USER PASSWORD")
}
