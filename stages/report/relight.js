// A session's maps under a light that follows the pointer: Lambert's law in WebGL, on textures made by relight.py.
{
  const panel = document.querySelector(".relight");
  const canvas = panel?.querySelector("canvas");
  const FARTHEST = 80; // degrees from the camera's axis, at the edge of the picture
  const STEP = 0.125; // of half the picture, an arrow key
  const light = { x: -0.4, y: 0.4 }; // where it stands in the picture: x right, y up, the edges at 1

  const VERTEX = `
    attribute vec2 corner;
    varying vec2 at;
    void main() { at = vec2(.5 + .5 * corner.x, .5 - .5 * corner.y); gl_Position = vec4(corner, 0., 1.); }`;
  const FRAGMENT = `
    precision highp float;
    uniform sampler2D normals, albedo;
    uniform vec3 light;
    varying vec2 at;
    void main() {
      vec3 normal = 2. * texture2D(normals, at).xyz - 1.;
      float inside = step(.5, length(normal));
      float bright = inside * texture2D(albedo, at).r * max(0., dot(normalize(normal), light));
      gl_FragColor = vec4(vec3(bright), inside);
    }`;

  const prepare = () => {
    const gl = canvas.getContext("webgl", { antialias: false, preserveDrawingBuffer: true });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE); // the textures are numbers, not colours
    ["normals", "albedo"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
      for (const size of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, size, gl.NEAREST);
      gl.uniform1i(gl.getUniformLocation(program, name), unit);
    });
    return { gl, direction: gl.getUniformLocation(program, "light") };
  };

  const start = ({ gl, direction }) => {
    const draw = () => {
      const zenith = FARTHEST * Math.min(1, Math.hypot(light.x, light.y));
      const azimuth = Math.atan2(light.y, light.x);
      const away = Math.sin(zenith * Math.PI / 180);
      gl.uniform3f(direction, away * Math.cos(azimuth), away * Math.sin(azimuth), Math.cos(zenith * Math.PI / 180));
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
      const degrees = Math.round(azimuth * 180 / Math.PI);
      panel.querySelector("output").textContent = `zenith ${Math.round(zenith)}°, azimuth ${degrees}°`;
    };
    const move = (x, y) => {
      light.x = Math.max(-1, Math.min(1, x));
      light.y = Math.max(-1, Math.min(1, y));
      draw();
    };
    let wanted; // of two sessions chosen in haste, the later
    const show = async choice => {
      wanted = choice;
      for (const other of panel.querySelectorAll("button")) other.setAttribute("aria-pressed", other === choice);
      const albedo = choice.querySelector("img"), normals = new Image();
      normals.src = choice.dataset.normals;
      await Promise.all([normals.decode(), albedo.decode()]);
      if (wanted !== choice) return;
      canvas.width = canvas.height = normals.naturalWidth;
      gl.viewport(0, 0, canvas.width, canvas.height);
      [normals, albedo].forEach((image, unit) => {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
      });
      draw();
      canvas.setAttribute("aria-label", `Relit face of ${choice.dataset.session}. The arrow keys move the light.`);
      canvas.dataset.session = choice.dataset.session;
    };
    const follow = event => {
      const box = canvas.getBoundingClientRect();
      move(2 * (event.clientX - box.left) / box.width - 1, 1 - 2 * (event.clientY - box.top) / box.height);
    };
    canvas.addEventListener("pointermove", follow);
    canvas.addEventListener("pointerdown", follow);
    const arrows = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    canvas.addEventListener("keydown", event => {
      const by = arrows[event.key];
      if (!by) return;
      event.preventDefault(); // which would scroll the page
      move(light.x + by[0], light.y + by[1]);
    });
    for (const choice of panel.querySelectorAll("button")) choice.addEventListener("click", () => show(choice));
    show(panel.querySelector("button"));
    panel.classList.add("live");
  };

  const ready = canvas && prepare();
  if (ready) start(ready);
}
