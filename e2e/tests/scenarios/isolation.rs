//! Scenarios share browsers, one after the other, and see nothing of each other.

use talkback_e2e::in_every_browser_with_requests;

#[test]
fn a_scenario_sees_no_page_console_or_request_of_an_earlier_one() {
    let mark = "of an earlier scenario";
    in_every_browser_with_requests(async |stage| {
        let page = stage.workbench().await?;
        page.execute("console.error(arguments[0]);", vec![mark.into()]).await?;
        page.new_tab()
            .await?
            .open(&stage.server.http("/"), "connect_websocket")
            .await
            .map_err(Into::into)
    });
    // The browser that was given back last is taken first, so this is the same one, unless another scenario was
    // quicker.
    in_every_browser_with_requests(async |stage| {
        let address = stage.page.execute("return location.href;", vec![]).await?;
        assert!(
            address.as_str().is_some_and(|address| !address.starts_with("http")),
            "{address}"
        );
        assert_eq!(stage.browser.requests().await, [""; 0]);
        let console = stage.browser.console().await;
        assert!(!console.iter().any(|line| line.contains(mark)), "{console:#?}");
        assert_eq!(stage.browser.tabs().await?, 1);
        Ok(())
    });
}
