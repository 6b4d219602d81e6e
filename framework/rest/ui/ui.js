"use strict";

const byId = (id) => document.getElementById(id);

// row makes one table row; a cell is text, or [text, class], or a node.
function row(...cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) {
    const td = document.createElement("td");
    if (cell instanceof Node) td.append(cell);
    else if (Array.isArray(cell)) { td.textContent = cell[0]; td.className = cell[1]; }
    else td.textContent = cell;
    tr.append(td);
  }
  return tr;
}

function link(text, hash) {
  const a = document.createElement("a");
  a.href = "#" + encodeURIComponent(hash);
  a.textContent = text;
  return a;
}

function stateOf(app) {
  if (app.deployments.length > 0) return "deploying";
  if (app.instances === 0) return "suspended";
  if (app.tasksRunning < app.instances) return ["waiting", "bad"];
  if (app.tasksUnhealthy > 0) return ["unhealthy", "bad"];
  return "running";
}

function showApps(apps) {
  apps.sort((a, b) => a.id < b.id ? -1 : 1);
  byId("apps").replaceChildren(...apps.map((a) => row(link(a.id, a.id), [a.instances, "n"], [a.tasksRunning, "n"],
    [a.healthChecks.length > 0 ? a.tasksHealthy : "–", "n"], [a.cpus, "n"], [a.mem, "n"], stateOf(a))));
}

function showApp(app) {
  byId("one").hidden = !app;
  if (!app) return;
  byId("name").textContent = app.id;
  const f = app.lastTaskFailure;
  byId("failure").textContent = f ? "Last failure " + f.timestamp + ": " + f.state + " on " + f.host + ": " + f.message : "";
  byId("tasks").replaceChildren(...app.tasks.map((t) => row(t.id, t.state, t.host, t.ports.join(" "), t.startedAt || t.stagedAt || "")));
}

async function read(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(path + " answered " + answer.status);
  return answer.json();
}

async function refresh() {
  try {
    const { apps } = await read("../v2/apps");
    showApps(apps);
    const chosen = decodeURIComponent(location.hash.slice(1));
    showApp(apps.some((a) => a.id === chosen) ? (await read("../v2/apps/" + chosen)).app : null);
    byId("state").textContent = apps.length + (apps.length === 1 ? " app" : " apps");
    byId("state").className = "";
  } catch (e) {
    byId("state").textContent = "not up to date: " + e.message;
    byId("state").className = "bad";
  }
}

addEventListener("hashchange", refresh);
setInterval(refresh, 2000);
refresh();
