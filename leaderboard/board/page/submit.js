// Submitting an archive and watching how it is scored. Everything from the server is put in as text, never as markup.
"use strict";
(() => {
  const form = document.querySelector("#submit");
  const said = document.querySelector("#said");
  const bar = form.querySelector("progress");
  const own = document.querySelector("#own");
  const body = own.querySelector("tbody");
  const groups = [...own.querySelectorAll("th[data-group]")]; // a column of scores each, with the tiers that it is the mean of
  const WATCH = 1500; // milliseconds between two looks
  let timer = null;
  let sent = null; // the name of what was uploaded last, until it is scored

  const say = (text) => { said.textContent = text; };
  const token = () => form.elements.token.value.trim();
  const headers = () => ({ Authorization: "Bearer " + token() });

  const problem = (text, status) => {
    try {
      const detail = JSON.parse(text).detail;
      if (typeof detail === "string") return detail;
    } catch { /* no JSON: say the number */ }
    return "The server answered " + status + ".";
  };

  const ask = async (path, options) => {
    const response = await fetch(path, { headers: headers(), ...options });
    const text = await response.text();
    if (!response.ok) throw new Error(problem(text, response.status));
    return JSON.parse(text);
  };

  const cell = (row, text, kind) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (kind) made.className = kind;
    row.append(made);
    return made;
  };

  const mean = (verdict, group) => {
    const score = verdict?.scores[group]?.[verdict.headline.metric];
    return score ? score.mean.toFixed(verdict.headline.places).replace("-", "−") : null;
  };

  const scoreCell = (row, verdict, head) => {
    const { group, tiers } = head.dataset;
    const score = mean(verdict, group);
    const named = score === null || verdict.headline.metric === "edit_recovery" ? "" : " " + verdict.headline.metric;
    const made = cell(row, (score ?? "–") + named, "num");
    for (const tier of tiers.split(" ")) {
      const value = mean(verdict, tier);
      if (value === null) continue;
      const line = document.createElement("span");
      line.className = "sub";
      line.textContent = tier.replaceAll("_", " ") + " " + value;
      made.append(line);
    }
  };

  const withdrawal = (row, one) => {
    const place = cell(row, "");
    if (!["queued", "running", "accepted"].includes(one.status)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Withdraw";
    button.setAttribute("aria-label", "Withdraw " + one.name);
    button.addEventListener("click", async () => {
      if (button.dataset.sure !== "yes") {
        button.dataset.sure = "yes";
        button.textContent = "Really withdraw?";
        button.setAttribute("aria-label", "Really withdraw " + one.name + "?");
        return;
      }
      try {
        await ask("api/v1/submissions/" + encodeURIComponent(one.id), { method: "DELETE" });
        say(one.name + " is withdrawn.");
      } catch (error) {
        say(error.message);
      }
      show();
    });
    place.append(button);
  };

  const line = (one) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    const page = one.verdict && one.verdict.page;
    if (page) {
      const link = document.createElement("a");
      link.href = page.replace(/^\//, "");
      link.textContent = one.name;
      name.append(link);
    } else {
      name.textContent = one.name;
    }
    row.append(name);
    const ahead = one.before === null ? "" : one.before === 0 ? ", next" : ", " + one.before + " before it";
    const status = cell(row, "");
    const chip = document.createElement("span");
    chip.className = one.status === "accepted" ? "chip accent" : "chip";
    chip.textContent = one.status + ahead;
    status.append(chip);
    if (one.reason || one.held) {
      const why = document.createElement("span");
      why.className = "sub";
      why.textContent = one.reason || one.held;
      status.append(why);
    }
    for (const head of groups) if (!head.hidden) scoreCell(row, one.verdict, head);
    const rank = one.verdict && one.verdict.rank;
    cell(row, rank ? (rank[0] === rank[1] ? String(rank[0]) : rank[0] + "–" + rank[1]) : "–", "num");
    cell(row, new Date(one.received).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
    withdrawal(row, one);
    return row;
  };

  const show = async () => {
    clearTimeout(timer);
    if (body.querySelector("[data-sure]")) { // somebody is about to confirm
      timer = setTimeout(show, WATCH);
      body.querySelectorAll("[data-sure]").forEach((button) => button.removeAttribute("data-sure"));
      return;
    }
    try {
      const all = await ask("api/v1/submissions?limit=50");
      own.hidden = false;
      for (const head of groups) {
        head.hidden = "optional" in head.dataset && all.every((one) => mean(one.verdict, head.dataset.group) === null);
      }
      body.replaceChildren(...all.map(line));
      if (!all.length) say("Your team has not submitted anything yet.");
      const last = all.find((one) => one.name === sent);
      if (last && last.finished) {
        say(last.name + " is " + last.status + ".");
        sent = null;
      }
      const open = all.filter((one) => one.status === "queued" || one.status === "running");
      const unranked = all.some((one) => one.status === "accepted" && !one.verdict.rank && Date.now() - Date.parse(one.finished) < 60000);
      if (open.length || unranked) timer = setTimeout(show, WATCH);
    } catch (error) {
      say(error.message);
    }
  };

  const upload = (file) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
    const query = new URLSearchParams({ suite: form.elements.suite.value, name: file.name.slice(0, 200) || "submission.zip" });
    request.open("POST", "api/v1/submissions?" + query);
    request.setRequestHeader("Authorization", "Bearer " + token());
    request.setRequestHeader("Content-Type", "application/zip");
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.status);
      else reject(new Error(problem(request.responseText, request.status)));
    });
    request.addEventListener("error", () => reject(new Error("The upload was cut; submit the same archive again.")));
    request.send(file);
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = form.elements.archive.files[0];
    if (!file) return say("Choose the archive that pack wrote.");
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    bar.hidden = false;
    bar.value = 0;
    say("Uploading " + file.name + ".");
    try {
      const status = await upload(file);
      sent = file.name;
      say(status === 202 ? file.name + " is received and waits to be scored." : file.name + " was submitted before; this is how it stands.");
      await show();
    } catch (error) {
      say(error.message);
    }
    bar.hidden = true;
    button.disabled = false;
    return undefined;
  });
  form.elements.show.addEventListener("click", () => { say(""); show(); });
})();
