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
    [(a.healthChecks || []).length > 0 ? a.tasksHealthy : "–", "n"], [a.cpus, "n"], [a.mem, "n"], stateOf(a))));
}

function showApp(app) {
  byId("one").hidden = !app;
  if (!app) return;
  byId("name").textContent = app.id;
  const f = app.lastTaskFailure;
  byId("failure").textContent = f ? "Last failure " + f.timestamp + ": " + f.state + " on " + f.host + ": " + f.message : "";
  byId("tasks").replaceChildren(...app.tasks.map((t) => row(t.id, t.state, t.host, t.ports.join(" "), t.startedAt || t.stagedAt || "")));
}

function showPods(pods) {
  pods.sort((a, b) => a.id < b.id ? -1 : 1);
  byId("podtable").hidden = pods.length === 0;
  const sum = (p, what) => Math.round(1000 * p.spec.containers.reduce((n, c) => n + c.resources[what], p.spec.executorResources[what])) / 1000;
  byId("pods").replaceChildren(...pods.map((p) => row(link(p.id, p.id), [p.spec.scaling.instances, "n"],
    [p.instances.filter((i) => i.status === "STABLE").length, "n"], p.spec.containers.map((c) => c.name).join(" "),
    [sum(p, "cpus"), "n"], [sum(p, "mem"), "n"], p.status === "STABLE" ? "stable" : [p.status.toLowerCase(), "bad"])));
}

function showPod(pod) {
  byId("one").hidden = false;
  byId("name").textContent = pod.id;
  const end = pod.terminationHistory[0];
  byId("failure").textContent = end ? "Last failure " + end.terminatedAt + ": " + end.containers[0].lastKnownState + ": " + end.message : "";
  byId("tasks").replaceChildren(...pod.instances.flatMap((i) => i.containers.map((c) => row(c.containerId, c.status, i.agentHostname || "",
    c.endpoints.map((e) => e.allocatedHostPort || "").join(" "), c.statusSince))));
}

async function read(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(path + " answered " + answer.status);
  return answer.json();
}

async function refresh() {
  try {
    const { apps } = await read("../v2/apps");
    const pods = await read("../v2/pods/::status");
    showApps(apps);
    showPods(pods);
    const chosen = decodeURIComponent(location.hash.slice(1));
    const pod = pods.find((p) => p.id === chosen);
    if (pod) showPod(pod);
    else showApp(apps.some((a) => a.id === chosen) ? (await read("../v2/apps/" + chosen)).app : null);
    byId("state").textContent = apps.length + (apps.length === 1 ? " app" : " apps") + (pods.length > 0 ? ", " + pods.length + (pods.length === 1 ? " pod" : " pods") : "");
    byId("state").className = "";
  } catch (e) {
    byId("state").textContent = "not up to date: " + e.message;
    byId("state").className = "bad";
  }
}

addEventListener("hashchange", refresh);
setInterval(refresh, 2000);
refresh();
