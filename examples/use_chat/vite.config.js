import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// As objects: a mere address would have Vite change the Host header, and the bridge lets in pages of its own host.
const bridge = { target: process.env.BRIDGE_URL ?? "http://127.0.0.1:8080" };

export default defineConfig({
  plugins: [react()],
  server: {
    host: "127.0.0.1",
    proxy: { "/api": bridge, "/chat": bridge, "/socket.io": { ...bridge, ws: true } },
    fs: { allow: ["../.."] }, // where chat_transport.js is
  },
});
