// Serves server-everything over Streamable HTTP on a free port of the loopback only
// (by itself it listens on every address) and prints the URL.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  this.once("listening", () => console.log(`ready http://127.0.0.1:${this.address().port}/mcp`));
  return listen.call(this, { host: "127.0.0.1", port: Number(port) }, ...rest);
};
process.env.PORT = "0";
process.stdin.on("end", () => process.exit(0)).resume(); // it ends with who started it
await import("./node_modules/@modelcontextprotocol/server-everything/dist/transports/streamableHttp.js");
