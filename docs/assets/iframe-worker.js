// Lets the search work where the site is opened as files: browsers start no worker from there, but load a script into
// a frame. The worker's script finds its own `postMessage` and its own "message" events in it, as in a worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inside = this.frame.contentWindow
      inside.document.open()
      inside.postMessage = data => this.receive(data)
      this.ready = new Promise(done => (inside.started = done))
      const script = `<script src="${new URL(url, location)}" onload="started()"></scr` + "ipt>"
      inside.document.write(script)
      inside.document.close()
    }

    receive(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
