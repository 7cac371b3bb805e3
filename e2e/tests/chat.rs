//! Group chat: tabs of one room see each other, other rooms see nothing.

use talkback_e2e::{Page, StepError, in_every_browser};
use talkback_testbed::Server;
use thirtyfour::Key;

const LOG: &str = "chat_messages";

/// Opens a room in the tab and joins it under `name`.
async fn join(page: &Page, server: &Server, room: &str, name: &str) -> Result<(), StepError> {
    page.open(&server.http(&format!("/chat/{room}")), "chat_join").await?;
    page.fill("chat_name", name).await?;
    page.click("chat_join").await?;
    page.wait_state("chat_state", "OPEN").await
}

async fn say(page: &Page, text: &str) -> Result<(), StepError> {
    page.fill("chat_message", text).await?;
    page.click("chat_send").await
}

/// Waits until the chat shows exactly these messages, each as sender and text. Lines without a sender are notices.
async fn hears(page: &Page, expected: &[(&str, &str)]) -> Result<(), StepError> {
    page.wait_rows(LOG, &format!("the messages are {expected:?}"), |rows| {
        let said: Vec<_> = rows.iter().filter(|row| !row.from.is_empty()).collect();
        said.len() == expected.len()
            && said
                .iter()
                .zip(expected)
                .all(|(row, (from, text))| row.from.contains(from) && row.text == *text)
    })
    .await
}

#[test]
fn two_tabs_of_a_room_see_each_other_and_a_third_elsewhere_sees_nothing() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        let eve = ann.new_tab().await?;
        join(&ann, &stage.server, "kitchen", "Ann").await?;
        join(&bob, &stage.server, "kitchen", "Bob").await?;
        join(&eve, &stage.server, "cellar", "Eve").await?;
        assert!(ann.text("chat_room").await?.contains("kitchen"));

        say(&ann, "Is anybody there?").await?;
        hears(&bob, &[("Ann", "Is anybody there?")]).await?;
        say(&bob, "I am").await?;
        let talk = [("Ann", "Is anybody there?"), ("Bob", "I am")];
        hears(&ann, &talk).await?;
        hears(&bob, &talk).await?;

        // What Eve says comes back to her after everything that was said before: had the kitchen leaked, it would show.
        say(&eve, "echo?").await?;
        hears(&eve, &[("Eve", "echo?")]).await?;
        hears(&ann, &talk).await?;
        Ok(())
    });
}

#[test]
fn rooms_names_and_messages_may_be_chinese() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        join(&ann, &stage.server, "大厅", "小明").await?;
        join(&bob, &stage.server, "大厅", "小红").await?;
        assert_eq!(ann.path().await?, "/chat/大厅");
        assert!(ann.text("chat_room").await?.contains("大厅"));
        say(&ann, "大家好！").await?;
        hears(&bob, &[("小明", "大家好！")]).await?;
        Ok(())
    });
}

#[test]
fn markup_in_names_and_messages_stays_text() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        join(&ann, &stage.server, "attic", "<i>Ann</i>").await?;
        join(&bob, &stage.server, "attic", "Bob").await?;
        let attack = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
        say(&ann, attack).await?;
        hears(&bob, &[("<i>Ann</i>", attack)]).await?;
        let elements = bob
            .script(LOG, "return arguments[0].querySelectorAll('img, script, i').length;")
            .await?;
        assert_eq!(elements, 0, "the text became no element");
        let title = bob.execute("return document.title;", vec![]).await?;
        assert_ne!(title, "hit", "the script did not run");
        Ok(())
    });
}

#[test]
fn enter_sends_but_not_while_an_input_method_composes() {
    // element-web and many chats sent half a word when Enter confirmed a candidate.
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        join(&page, &stage.server, "study", "Ann").await?;
        page.paste("chat_message", "ni hao").await?;
        // Browsers report an Enter that belongs to the input method in two ways.
        let confirm = "
            for (const [isComposing, keyCode] of [[true, 13], [false, 229]]) {
                const event = new KeyboardEvent('keydown', { key: 'Enter', isComposing, bubbles: true, cancelable: true });
                Object.defineProperty(event, 'keyCode', { value: keyCode });
                arguments[0].dispatchEvent(event);
            }";
        page.script("chat_message", confirm).await?;
        assert_eq!(
            page.value("chat_message").await?,
            "ni hao",
            "the text stays in the field"
        );
        page.fill("chat_message", "你好").await?;
        page.press_in("chat_message", Key::Enter).await?;
        hears(&page, &[("Ann", "你好")]).await?;
        assert_eq!(
            page.value("chat_message").await?,
            "",
            "the field is ready for the next message"
        );
        Ok(())
    });
}

#[test]
fn shift_enter_starts_a_new_line() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        join(&page, &stage.server, "study", "Ann").await?;
        page.fill("chat_message", "one").await?;
        page.press_in("chat_message", Key::Shift + Key::Enter).await?;
        page.press_in("chat_message", "two").await?;
        page.press_in("chat_message", Key::Enter).await?;
        hears(&page, &[("Ann", "one\ntwo")]).await?;
        Ok(())
    });
}

#[test]
fn back_and_forward_lead_between_the_views() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        assert!(page.text("chat_room").await?.contains("lobby"));
        page.back().await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        page.forward().await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        Ok(())
    });
}

#[test]
fn who_leaves_hears_no_more_until_coming_back() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        join(&ann, &stage.server, "porch", "Ann").await?;
        join(&bob, &stage.server, "porch", "Bob").await?;
        bob.click("chat_leave").await?;
        bob.wait_state("chat_state", "CLOSED").await?;
        say(&ann, "Bob?").await?;
        hears(&ann, &[("Ann", "Bob?")]).await?;
        bob.click("chat_join").await?;
        bob.wait_state("chat_state", "OPEN").await?;
        say(&ann, "Back!").await?;
        hears(&bob, &[("Ann", "Back!")]).await?;
        Ok(())
    });
}

#[test]
fn a_name_with_brackets_is_refused_with_the_rule_and_kept() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/chat/lobby"), "chat_join").await?;
        page.fill("chat_name", "[Ann]").await?;
        page.click("chat_join").await?;
        page.wait_text("error", "Not a usable name").await?;
        assert_eq!(page.value("chat_name").await?, "[Ann]");
        assert_eq!(page.state("chat_state").await?, "CLOSED");
        page.fill("chat_name", "Ann").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        Ok(())
    });
}

#[test]
fn a_stopped_server_leaves_the_talk_on_the_page_and_the_room_can_be_joined_again() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        join(&page, &stage.server, "shelter", "Ann").await?;
        say(&page, "before").await?;
        hears(&page, &[("Ann", "before")]).await?;
        stage.server.stop().await?;
        page.wait_state("chat_state", "CLOSED").await?;
        page.wait_row(LOG, "what happened", |row| row.text.contains("Going away"))
            .await?;
        page.fill("chat_message", "meanwhile").await?;
        stage.server.start_again().await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        assert_eq!(
            page.value("chat_message").await?,
            "meanwhile",
            "what was typed meanwhile is kept"
        );
        page.click("chat_send").await?;
        hears(&page, &[("Ann", "before"), ("Ann", "meanwhile")]).await?;
        Ok(())
    });
}
