"""The calls of the marketplace's API, one table: what serves each, what it asks for, and what it answers with."""

from __future__ import annotations

from marketplace.web import (
    account_shapes,
    accounts,
    admin,
    bodies,
    channels,
    disputes,
    fees,
    fulfilment,
    goods,
    goods_shapes,
    health,
    links,
    members,
    metrics,
    negotiation,
    notifications,
    offers,
    openapi,
    payments,
    payout_addresses,
    pricing,
    requests,
    second_factors,
    shapes,
    shop_shapes,
    shops,
    sweeps,
)
from marketplace.web.route import Route

MARKET = "/api/marketplace"
REQUESTS = f"{MARKET}/purchase-requests"
REQUEST = f"{REQUESTS}/{{id}}"
OFFER = f"{MARKET}/offers/{{id}}"
CODE = f"{REQUEST}/delivery-code"
STOCKS = f"{MARKET}/stocks"
STOCK = f"{STOCKS}/{{id}}"
PAYMENT = "/api/payment"
ADMIN = "/api/admin"
FACTOR = "/api/auth/second-factor"
PAYOUTS = "/api/payout-addresses"
INVITATIONS = f"{ADMIN}/invitations"
USER = f"{ADMIN}/users/{{id}}"
PAYIN = f"{ADMIN}/payments/{{id}}"
THRESHOLDS = f"{ADMIN}/settings/confirmation-thresholds"
DISPUTE = "/api/disputes/{id}"
NOTES = "/api/notifications"
STREAM = "/api/events"
OPENED = (shapes.OpenedThroughProxy, shapes.OpenedPlainly, shapes.OpenedElsewhere)

GOODS = (
    Route("POST", STOCKS, goods.create, {201: goods_shapes.OneStock}, goods.NewStock),
    Route("GET", STOCKS, goods.listing, {200: goods_shapes.StockPage}, query=bodies.Listing),
    Route("GET", STOCK, goods.show, {200: goods_shapes.OneStock}),
    Route("PATCH", STOCK, goods.edit, {200: goods_shapes.OneStock}, goods.EditStock),
    Route("POST", f"{STOCK}/items", goods.upload, {201: goods_shapes.FilledStock}, file="text/csv"),
    Route("GET", f"{STOCK}/items", goods.items, {200: goods_shapes.StockItemPage}, query=goods.ListItems),
    Route("POST", f"{MARKET}/stock-items/{{id}}/withdraw", goods.withdraw, {200: goods_shapes.OneStock}),
    Route("GET", f"{REQUEST}/goods", goods.purchased, {200: goods_shapes.PurchasedGoods}),
    Route("POST", f"{REQUEST}/goods/reveal", goods.reveal, {200: goods_shapes.RevealedGoods}),
)
TEMPLATES = f"{MARKET}/templates"
TEMPLATE = f"{TEMPLATES}/{{id}}"
SHOPS = (
    Route("PUT", f"{MARKET}/shop", shops.put, {200: shop_shapes.OneShop}, shops.ShopText),
    Route("GET", "/api/shops/{id}", shops.show, {200: shop_shapes.ShopPage}, query=bodies.Listing),
    Route("GET", "/api/templates/{id}", shops.shared, {200: shop_shapes.OneSharedTemplate}),
    Route("POST", TEMPLATES, shops.create, {201: shop_shapes.OneTemplate}, shops.NewTemplate),
    Route("GET", TEMPLATES, shops.listing, {200: shop_shapes.TemplatePage}, query=bodies.Listing),
    Route("PATCH", TEMPLATE, shops.edit, {200: shop_shapes.OneTemplate}, shops.EditTemplate),
    Route("POST", f"{TEMPLATE}/share", shops.share, {200: shop_shapes.OneTemplate}),
    Route("POST", f"{TEMPLATE}/close", shops.close, {200: shop_shapes.OneTemplate}),
    Route("GET", f"{REQUEST}/lines", shops.lines, {200: shop_shapes.CheckoutLines}),
    Route(
        "POST",
        f"{PAYMENT}/checkout",
        shops.checkout,
        dict.fromkeys((200, 201, 202), shop_shapes.CheckedOut),
        shops.NewCheckout,
    ),
)
HOSTED = (
    Route("POST", f"{PAYMENT}/shkeeper/webhook", payments.shkeeper_webhook, {202: shapes.ReceivedWebhook}),
    Route(
        "POST", f"{PAYMENT}/request-network/webhook", payments.request_network_webhook, {200: shapes.ReceivedWebhook}
    ),
)
ROUTES = (
    *GOODS,
    *SHOPS,
    Route("GET", "/health", health.ping, {200: shapes.Ping}),
    Route("GET", "/api/version", health.version, {200: shapes.Version}),
    Route("GET", "/api/health", health.deep, {200: shapes.Health, 503: shapes.Health}),
    Route("GET", "/openapi.json", openapi.document, {200: openapi.Description}, enveloped=False),
    Route("POST", "/api/auth/login", accounts.login, {200: shapes.LoggedIn}, accounts.Login),
    Route("POST", "/api/auth/refresh-token", accounts.refresh, {200: shapes.Refreshed}, accounts.Refresh),
    Route("GET", "/api/auth/me", accounts.me, {200: shapes.OneUser}),
    Route("POST", f"{ADMIN}/users", accounts.create, {201: shapes.OneUser}, accounts.NewUser),
    Route("POST", "/api/auth/password", accounts.change_password, {200: shapes.Refreshed}, accounts.ChangePassword),
    Route("POST", "/api/auth/join", links.join, {201: shapes.LoggedIn}, links.Join),
    Route("POST", "/api/auth/reset-password", links.reset, {200: shapes.OneUser}, links.Reset),
    Route("POST", "/api/auth/register", links.register, {202: account_shapes.Done}, links.Register),
    Route("POST", FACTOR, second_factors.start, {201: account_shapes.Enrolment}, second_factors.Start),
    Route(
        "POST", f"{FACTOR}/confirm", second_factors.confirm, {200: account_shapes.RecoveryCodes}, second_factors.Confirm
    ),
    Route("POST", f"{FACTOR}/remove", second_factors.remove, {200: account_shapes.Done}, second_factors.Remove),
    Route("POST", f"{USER}/remove-second-factor", second_factors.remove_of, {200: account_shapes.Done}),
    Route("POST", INVITATIONS, links.invite, {201: account_shapes.NewInvitation}, links.Invite),
    Route("GET", INVITATIONS, links.invitations, {200: account_shapes.InvitationPage}, query=bodies.Listing),
    Route("POST", f"{INVITATIONS}/{{id}}/revoke", links.revoke, {200: account_shapes.Done}),
    Route("POST", f"{USER}/reset", links.order_reset, {201: account_shapes.NewReset}),
    Route("GET", f"{ADMIN}/users", members.listing, {200: account_shapes.AccountPage}, query=members.ListUsers),
    Route("GET", USER, members.show, {200: account_shapes.OneAccount}),
    Route("GET", f"{USER}/history", members.history, {200: account_shapes.EventPage}, query=bodies.Listing),
    Route("POST", f"{USER}/suspend", members.suspend, {200: account_shapes.OneAccount}, members.Suspend),
    Route("POST", f"{USER}/unsuspend", members.unsuspend, {200: account_shapes.OneAccount}),
    Route("POST", f"{USER}/end-sessions", members.end_sessions, {200: account_shapes.OneAccount}),
    Route("POST", REQUESTS, requests.create, {201: shapes.OneRequest}, requests.NewRequest),
    Route("GET", REQUESTS, requests.feed, {200: shapes.RequestPage}, query=bodies.Listing),
    Route("GET", f"{REQUESTS}/my", requests.mine, {200: shapes.RequestPage}, query=bodies.Listing),
    Route("GET", REQUEST, requests.show, {200: shapes.OneRequest}),
    Route("POST", f"{REQUEST}/offers", offers.create, {201: shapes.OneOffer}, offers.NewOffer),
    Route("POST", f"{REQUEST}/select-offer", offers.select, {200: shapes.SelectedOffer}, offers.SelectOffer),
    Route("GET", f"{MARKET}/offers", offers.listing, {200: shapes.OfferPage}, query=offers.ListOffers),
    Route("PATCH", OFFER, offers.edit, {200: shapes.OneOffer}, offers.EditOffer),
    Route("POST", f"{OFFER}/withdraw", offers.withdraw, {200: shapes.OneOffer}),
    Route("POST", f"{OFFER}/counter", negotiation.counter, {201: shapes.OneRound}, negotiation.Counter),
    Route("POST", f"{OFFER}/counter/answer", negotiation.answer, {200: shapes.OneOffer}, negotiation.Reply),
    Route("GET", f"{OFFER}/rounds", negotiation.rounds, {200: shapes.Rounds}),
    Route("PATCH", f"{REQUEST}/delivery", fulfilment.deliver, {200: shapes.OneRequest}, fulfilment.Delivered),
    Route("PATCH", f"{REQUEST}/confirm-delivery", fulfilment.confirm, {200: shapes.OneRequest}, fulfilment.Confirmed),
    Route("POST", f"{CODE}/generate", fulfilment.generate, {200: shapes.DeliveryCode}),
    Route("POST", f"{CODE}/verify", fulfilment.verify, {200: shapes.OneRequest}, fulfilment.Verify),
    Route("GET", f"{CODE}/status", fulfilment.status, {200: shapes.DeliveryCodeStatus}),
    Route(
        "POST",
        f"{PAYMENT}/intents",
        payments.open_intent,
        {200: OPENED, 201: OPENED, 202: shapes.RegisteredLater},
        payments.NewIntent,
    ),
    Route("GET", f"{PAYMENT}/options", pricing.options, {200: shapes.PaymentOptions}, query=pricing.Options),
    Route("GET", f"{PAYMENT}/history", payments.history, {200: shapes.PaymentPage}, query=payments.History),
    Route(
        "POST",
        f"{PAYMENT}/amn-scanner/webhook",
        payments.webhook,
        {200: shapes.ReceivedWebhook, 202: shapes.ReceivedWebhook},
    ),
    *HOSTED,
    Route(
        "POST",
        f"{PAYMENT}/amn-scanner/direct-balance/check/{{paymentId}}",
        payments.check,
        {200: shapes.CheckedPayment},
    ),
    Route("GET", f"{PAYMENT}/{{id}}", payments.show, {200: shapes.ShownPayment}),
    Route("POST", f"{PAYMENT}/{{id}}/cancel", payments.cancel, {200: shapes.OnePayment}),
    Route(
        "GET",
        f"{ADMIN}/payments/awaiting-confirmation",
        admin.awaiting,
        {200: shapes.PaymentPage},
        query=bodies.Listing,
    ),
    Route("POST", f"{PAYIN}/release", admin.release, {200: shapes.OrderedPayout}, admin.Release),
    Route("POST", f"{PAYIN}/refund", admin.refund, {200: shapes.OrderedPayout}, admin.Refund),
    Route("POST", f"{PAYIN}/hold", admin.hold, {200: shapes.OnePayment}, admin.Hold),
    Route("POST", f"{PAYIN}/clear-reorg", admin.clear_reorg, {200: shapes.ClearedPayment}, admin.ClearReorg),
    Route("POST", f"{PAYIN}/stop-watch", admin.stop_watch, {200: shapes.OnePayment}),
    Route("GET", f"{ADMIN}/instructions", admin.instructions, {200: shapes.PayoutPage}, query=admin.ListInstructions),
    Route(
        "POST",
        f"{ADMIN}/instructions/{{id}}/settle",
        admin.settle,
        {200: shapes.OrderedPayout, 202: shapes.OrderedPayout},
        admin.Settle,
    ),
    Route("GET", PAYOUTS, payout_addresses.mine, {200: payout_addresses.PayoutAddressList}),
    Route("POST", PAYOUTS, payout_addresses.prove, {200: payout_addresses.OnePayoutAddress}, payout_addresses.Prove),
    Route(
        "POST",
        f"{PAYOUTS}/challenge",
        payout_addresses.challenge,
        {201: payout_addresses.OneChallenge},
        payout_addresses.NewChallenge,
    ),
    Route(
        "GET",
        f"{ADMIN}/payout-addresses",
        payout_addresses.listing,
        {200: payout_addresses.ProvedAddressPage},
        query=payout_addresses.ListPayoutAddresses,
    ),
    Route("GET", f"{ADMIN}/addresses", sweeps.addresses, {200: sweeps.AddressPage}, query=sweeps.ListAddresses),
    Route("POST", f"{ADMIN}/sweeps/build", sweeps.build, {200: sweeps.OneSweep}, sweeps.BuildSweep),
    Route("GET", f"{ADMIN}/recoveries", admin.recoveries, {200: shapes.RecoveryPage}, query=bodies.Listing),
    Route("GET", f"{ADMIN}/reconciliation", admin.reconciliation, {200: shapes.Reconciled}),
    Route("GET", f"{ADMIN}/networks", pricing.networks, {200: shapes.Networks}),
    Route("GET", THRESHOLDS, admin.thresholds, {200: shapes.Thresholds}),
    Route("PUT", THRESHOLDS, admin.set_thresholds, {200: shapes.Thresholds}, admin.Thresholds),
    Route("GET", f"{ADMIN}/fees", fees.listing, {200: fees.FeePage}, query=fees.ListFees),
    Route("PUT", f"{ADMIN}/fees", fees.change, {200: fees.FeePage}, fees.SetFee),
    Route("POST", "/api/disputes", disputes.create, {201: shapes.OneDispute}, disputes.NewDispute),
    Route("GET", "/api/disputes", disputes.listing, {200: shapes.DisputePage}, query=disputes.ListDisputes),
    Route("GET", DISPUTE, disputes.show, {200: shapes.OneDispute}),
    Route("POST", f"{DISPUTE}/evidence", disputes.add_evidence, {201: shapes.OneDispute}, disputes.NewEvidence),
    Route("GET", f"{DISPUTE}/messages", disputes.messages, {200: shapes.DisputeMessagePage}, query=bodies.Listing),
    Route("POST", f"{DISPUTE}/messages", disputes.write, {201: shapes.OneDisputeMessage}, disputes.NewMessage),
    Route("POST", f"{DISPUTE}/deadline", disputes.move_deadline, {200: shapes.OneDispute}, disputes.Deadline),
    Route("POST", f"{DISPUTE}/assign", disputes.assign, {200: shapes.OneDispute}, disputes.Assign),
    Route("POST", f"{DISPUTE}/resolve", disputes.resolve, {200: shapes.OneDispute}, disputes.Resolve),
    Route("GET", STREAM, notifications.stream, {200: str}, content="text/event-stream", enveloped=False),
    Route("GET", NOTES, notifications.listing, {200: shapes.NotificationPage}, query=bodies.Listing),
    Route("GET", f"{NOTES}/unread-count", notifications.unread, {200: shapes.Unread}),
    Route("GET", f"{NOTES}/channels", channels.show, {200: account_shapes.Channels}),
    Route("PUT", f"{NOTES}/channels", channels.choose, {200: account_shapes.Channels}, channels.Choose),
    Route("POST", f"{NOTES}/telegram/link", channels.start_link, {201: account_shapes.TelegramCode}),
    Route("POST", f"{NOTES}/telegram/unlink", channels.unlink, {200: account_shapes.Channels}),
    Route("POST", f"{NOTES}/read", notifications.read_all, {200: shapes.Unread}),
    Route("GET", metrics.PATH, metrics.metrics, {200: str}, content="text/plain", enveloped=False),
    Route("PATCH", f"{NOTES}/{{id}}/read", notifications.read, {200: shapes.OneNotification}),
)
