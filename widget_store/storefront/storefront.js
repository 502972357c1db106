/* The storefront: buys a widget, pays for it and follows the order, whatever crashes meanwhile.
 *
 * Two rules make a purchase survive. Its place is kept in the browser *before* each request, so that a reload goes on
 * from there. And each request may be repeated: the same key is the same order, the same payment is taken once. */

// ---------------------------------------------------------------------------------------------------------------------
// Asking the store

const LOST = 0; // the status of a request that the store itself did not answer
const SLOW = 504; // the store answered: not yet, ask again
const PATIENCE = { GET: 5_000, POST: 30_000 }; // milliseconds until an unanswered request counts as lost
const FIRST_DELAY = 250;
const LONGEST_DELAY = 2_000;

async function ask(method, path, headers) {
  const answer = await exchange(method, path, headers);
  noteConnection(answer.status !== LOST);
  return answer;
}

/* Asks until the store answers. Only for requests that are safe to repeat. */
async function insist(method, path) {
  let answer = await ask(method, path);
  for (let delay = FIRST_DELAY; [LOST, SLOW].includes(answer.status); delay = Math.min(2 * delay, LONGEST_DELAY)) {
    byId("slow").hidden = answer.status !== SLOW;
    await pause(delay);
    answer = await ask(method, path);
  }
  byId("slow").hidden = true;
  return answer;
}

/* What a URL of the store holds, or nothing when it cannot be had just now. */
async function read(path) {
  const { status, body } = await ask("GET", path);
  if (status === 200) return body;
  if (status !== LOST) say(`The store could not show ${path}: ${explain(body)}`);
}

async function exchange(method, path, headers) {
  try {
    const signal = AbortSignal.timeout(PATIENCE[method]);
    const response = await fetch(path, { method, headers, signal, cache: "no-store" });
    if (!isFromStore(response)) return { status: LOST };
    const body = isOfType(response, "application/json") ? await response.json() : await response.text();
    return { status: response.status, body };
  } catch {
    return { status: LOST };
  }
}

/* A proxy in front of a dead store answers in its place: with a gateway status, or with a page of its own. */
function isFromStore(response) {
  if (isOfType(response, "text/html")) return false;
  if (response.status === SLOW) return isOfType(response, "application/json");
  return response.status <= 500;
}

function isOfType(response, type) {
  return response.headers.get("content-type")?.startsWith(type) ?? false;
}

/* The store's refusals are {"detail": text}, or a list of what is wrong with the request. */
function explain(body) {
  const detail = body?.detail ?? body;
  const text = Array.isArray(detail) ? detail.map(({ msg }) => msg).join("; ") : String(detail);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// ---------------------------------------------------------------------------------------------------------------------
// The connection

const RECONNECTED_SHOWN = 5_000;

let connected = true;
let reconnectedTimer;

function noteConnection(isUp) {
  if (isUp === connected) return;
  connected = isUp;
  byId("banner").hidden = isUp;
  byId("reconnected").hidden = !isUp;
  clearTimeout(reconnectedTimer);
  if (isUp) {
    reconnectedTimer = setTimeout(() => (byId("reconnected").hidden = true), RECONNECTED_SHOWN);
    offerCrash();
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// The customer's place, kept across crashes and reloads

const PLACE = `widget-store ${location.pathname}`; // stores behind one proxy share an origin, but not a path
const CONTENTS = {
  checkout: ["key"],
  payment: ["key", "paymentId"],
  settling: ["key", "paymentId", "decision"],
  following: ["key", "orderId"],
};

function keepPlace(place) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(place));
  } catch {
    // Storage may be full or forbidden. The purchase goes on from memory, and only a reload would lose its place.
  }
}

function keptPlace() {
  try {
    const place = JSON.parse(localStorage.getItem(PLACE));
    const isWhole = CONTENTS[place.stage].every((name) => typeof place[name] === "string");
    return isWhole ? place : null;
  } catch {
    return null; // nothing kept, or nothing that this page wrote
  }
}

/* Another tab may have begun a purchase since: its place is not ours to forget. */
function forgetPlace(key) {
  if (keptPlace()?.key === key) localStorage.removeItem(PLACE);
}

// ---------------------------------------------------------------------------------------------------------------------
// A purchase: checkout -> payment -> settling -> following

const FOLLOW_INTERVAL = 500;
const OrderStatus = { CANCELLED: -1, PENDING: 0, DISPATCHED: 1, PAID: 2 };
const WORK = { checkout: checkOut, settling: settle, following: follow }; // in the payment stage, the customer decides

let purchase = null; // { stage, ... } as CONTENTS has it
let order = null; // the order being followed, as last seen

function buy() {
  enter({ stage: "checkout", key: newKey() });
}

function decide(decision) {
  enter({ ...purchase, stage: "settling", decision });
}

function enter(next) {
  purchase = next;
  order = null;
  keepPlace(purchase);
  showPurchase();
  WORK[purchase.stage]?.(purchase);
}

function end(reason) {
  forgetPlace(purchase.key);
  purchase = null;
  showPurchase();
  say(reason);
}

async function checkOut({ key }) {
  const { status, body } = await insist("POST", `checkout/${encodeURIComponent(key)}`);
  if (status === 200) enter({ stage: "payment", key, paymentId: body });
  else if (status === 409) end("Out of stock: the last widget has just gone. You were not charged.");
  else end(`The checkout failed. ${explain(body)}`);
}

async function settle({ key, paymentId, decision }) {
  const path = `payment_webhook/${encodeURIComponent(paymentId)}/${encodeURIComponent(decision)}`;
  const { status, body } = await insist("POST", path);
  if (status === 200) enter({ stage: "following", key, orderId: String(body) });
  else if (status === 404) end("The store does not know this payment any more.");
  else if (status === 409) end(explain(body));
  else {
    enter({ stage: "payment", key, paymentId });
    if (status === 401) byId("unsigned").hidden = false;
    else say(`The payment could not be settled, and you may try again. ${explain(body)}`);
  }
}

async function follow(followed) {
  while (purchase === followed) {
    await untilVisible();
    const { status, body } = await insist("GET", `order/${encodeURIComponent(followed.orderId)}`);
    if (purchase !== followed) return; // the customer has begun the next purchase
    if (status === 404) return end("The order you followed is no longer in the store.");
    if (status === 200) {
      order = body;
      showPurchase();
      if (isFinal(order)) return forgetPlace(followed.key);
    }
    await pause(FOLLOW_INTERVAL);
  }
}

function isFinal({ order_status }) {
  return order_status === OrderStatus.DISPATCHED || order_status === OrderStatus.CANCELLED;
}

/* Over plain HTTP, anywhere but on localhost, browsers have no crypto.randomUUID. */
function newKey() {
  return crypto.randomUUID?.() ?? uuidOf(crypto.getRandomValues(new Uint8Array(16)));
}

function uuidOf(bytes) {
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4: random
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // the variant of RFC 9562
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// ---------------------------------------------------------------------------------------------------------------------
// Showing the purchase

const DISPATCH_STEPS = 10;
const STATUS_WORDS = {
  [OrderStatus.CANCELLED]: { symbol: "×", word: "cancelled" },
  [OrderStatus.PENDING]: { symbol: "○", word: "pending" },
  [OrderStatus.PAID]: { symbol: "◐", word: "paid" },
  [OrderStatus.DISPATCHED]: { symbol: "✓", word: "dispatched" },
};

function showPurchase() {
  const stage = purchase?.stage;
  showSteps(stepsReached(stage));
  setText(byId("order-status"), purchaseInWords(stage));
  showPayment(stage);
  showDispatch();
  showBuy();
}

function stepsReached(stage) {
  if (!stage || stage === "checkout") return 0;
  if (order?.order_status === OrderStatus.CANCELLED) return 0;
  if (order?.order_status === OrderStatus.DISPATCHED) return 3;
  if (order?.order_status === OrderStatus.PAID) return 2;
  return 1;
}

function showSteps(reached) {
  [...byId("steps").children].forEach((step, index) => {
    step.classList.toggle("reached", index < reached);
    if (index === reached - 1) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
}

function purchaseInWords(stage) {
  if (!stage) return "Nothing on order.";
  if (stage === "checkout") return "Reserving your widget…";
  if (stage === "payment") return "A widget is reserved for you.";
  if (stage === "settling") return purchase.decision === "paid" ? "Sending your payment…" : "Declining the payment…";
  if (!order) return `Looking for order ${purchase.orderId}…`;
  return `Order ${order.order_id}: ${STATUS_WORDS[order.order_status].word}`;
}

function showPayment(stage) {
  const isPaying = stage === "payment" || stage === "settling";
  setDisabled(byId("pay"), stage === "settling");
  setDisabled(byId("decline"), stage === "settling");
  byId("unsigned").hidden = true;
  if (isPaying) {
    setText(byId("payment-id"), purchase.paymentId);
    byId("payment").hidden = false;
    moveFocus(byId("buy"), byId("payment-heading"));
  } else {
    moveFocus(byId("payment"), byId("purchase-heading"));
    byId("payment").hidden = true;
  }
}

function showDispatch() {
  const isUnderWay = order?.order_status === OrderStatus.PAID || order?.order_status === OrderStatus.DISPATCHED;
  byId("dispatch").hidden = !isUnderWay;
  if (!isUnderWay) return;
  byId("order-progress").value = stepsDone(order);
  setText(byId("order-progress-text"), `${stepsDone(order)} of ${DISPATCH_STEPS} steps done`);
}

function stepsDone({ progress_remaining }) {
  return DISPATCH_STEPS - progress_remaining;
}

// ---------------------------------------------------------------------------------------------------------------------
// The shelf and the list of orders, kept fresh while the page can be seen

const REFRESH_INTERVAL = 1_000;
const PAGE_SIZE = 20;
const PRICE = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const TIME_TODAY = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const TIME_EARLIER = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short", hourCycle: "h23" });

let product = null;
let pagesShown = 1;
let ordersShown = "";

async function keepFresh() {
  for (;;) {
    await untilVisible();
    await Promise.all([refreshProduct(), refreshOrders()]);
    await pause(REFRESH_INTERVAL);
  }
}

async function refreshProduct() {
  product = (await read("product")) ?? product;
  if (!product) return;
  setText(byId("product-name"), product.product);
  setText(byId("product-description"), product.description);
  setText(byId("price"), PRICE.format(product.price));
  setText(byId("stock"), product.inventory > 0 ? `${product.inventory} on the shelf` : "Sold out");
  byId("stock").classList.toggle("sold-out", product.inventory <= 0);
  showBuy();
}

/* The next purchase may begin as soon as the payment of the present one is settled. */
function showBuy() {
  const isUnsettled = purchase !== null && purchase.stage !== "following";
  setDisabled(byId("buy"), isUnsettled || !product || product.inventory <= 0);
}

async function refreshOrders() {
  const orders = [];
  let page = [];
  for (let count = 0; count < pagesShown; count++) {
    const before = orders.length ? `&before=${orders.at(-1).order_id}` : "";
    page = await read(`orders?limit=${PAGE_SIZE}${before}`);
    if (!page) return;
    orders.push(...page);
    if (page.length < PAGE_SIZE) break;
  }
  showOrders(orders, page.length === PAGE_SIZE);
}

function showOrders(orders, hasMore) {
  if (!hasMore) moveFocus(byId("more"), byId("orders-heading"));
  byId("more").hidden = !hasMore;
  byId("no-orders").hidden = orders.length > 0;
  byId("orders-table").hidden = orders.length === 0;
  const description = JSON.stringify(orders);
  if (description === ordersShown) return; // an unchanged table is left alone, and with it what is selected in it
  ordersShown = description;
  byId("orders").replaceChildren(...orders.map(orderRow));
}

function orderRow(listed) {
  const number = element("th", {}, listed.order_id);
  number.scope = "row";
  return element("tr", {}, number, statusCell(listed), dispatchCell(listed), timeCell(listed));
}

function statusCell({ order_status }) {
  const { symbol, word } = STATUS_WORDS[order_status];
  const mark = element("span", { className: "symbol", ariaHidden: "true" }, symbol);
  return element("td", { className: word }, mark, word);
}

function dispatchCell(listed) {
  const isPaid = listed.order_status === OrderStatus.PAID || listed.order_status === OrderStatus.DISPATCHED;
  return element("td", {}, isPaid ? `${stepsDone(listed)} of ${DISPATCH_STEPS}` : "–");
}

function timeCell({ last_update_time }) {
  const time = utc(last_update_time);
  const isToday = time.toDateString() === new Date().toDateString();
  const words = (isToday ? TIME_TODAY : TIME_EARLIER).format(time);
  return element("td", {}, element("time", { dateTime: time.toISOString() }, words));
}

/* The store's times are UTC, with or without saying so. */
function utc(text) {
  return new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}

function showMore() {
  pagesShown += 1;
  refreshOrders();
}

// ---------------------------------------------------------------------------------------------------------------------
// Behind the counter

async function restock() {
  setDisabled(byId("restock"), true);
  const { status, body } = await insist("POST", "restock");
  setDisabled(byId("restock"), false);
  say(status === 200 ? "The shelf is full again." : `The shelf could not be filled. ${explain(body)}`);
  refreshProduct();
}

/* The link in the notebook brings the token behind a `#`. It is taken out of the address, and kept for a reload. */
const CRASH_TOKEN = "crash-token";

function takeCrashToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get(CRASH_TOKEN);
  if (given === null) return;
  sessionStorage.setItem(CRASH_TOKEN, given);
  history.replaceState(null, "", location.pathname + location.search);
}

/* A store that crashes does not answer, so the only answer there can be is a refusal. */
async function crash() {
  const token = sessionStorage.getItem(CRASH_TOKEN);
  const { status, body } = await ask("POST", "crash_application", token === null ? {} : { "X-Crash-Token": token });
  if (status === 404) say("This store was started without --crash-endpoint.");
  else if (status !== LOST) say(`The store did not crash. ${explain(body)}`);
}

async function offerCrash() {
  const { body } = await insist("GET", "healthz");
  byId("crash").hidden = !body?.crash_endpoint;
}

// ---------------------------------------------------------------------------------------------------------------------
// The page

function byId(id) {
  return document.getElementById(id);
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/* Writing only what has changed keeps live regions from repeating themselves. */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function say(text) {
  setText(byId("message"), text);
}

/* Unlike a disabled button, an aria-disabled one keeps the focus and can be reached with the keyboard. */
function setDisabled(button, isDisabled) {
  button.setAttribute("aria-disabled", String(isDisabled));
}

function onPress(id, action) {
  const button = byId(id);
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.focus(); // Safari does not focus a button that is clicked
    say("");
    action();
  });
}

/* Focus follows the purchase only when the customer is where it was, so never after a reload and never from elsewhere. */
function moveFocus(from, to) {
  if (from.contains(document.activeElement)) to.focus();
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function untilVisible() {
  while (document.visibilityState === "hidden") {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

onPress("buy", buy);
onPress("pay", () => decide("paid"));
onPress("decline", () => decide("failed"));
onPress("dismiss", () => end("Purchase dismissed. The store cancels the order if nobody pays."));
onPress("restock", restock);
onPress("crash", crash);
onPress("more", showMore);

const kept = keptPlace();
if (kept) enter(kept);
takeCrashToken();
offerCrash();
keepFresh();
