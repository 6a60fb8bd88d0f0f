export interface PanelPage {
  /** Addresses of the bundle's files. */
  script: string;
  style: string;
  /** What the webview's own resources are served from. */
  source: string;
  nonce: string;
}

/**
 * The panel's page. Nothing loads but the two files and pictures of the data sets; no inline script, and inline style
 * only with the nonce, which the toolkit's components take from the meta element.
 */
export function panelHtml({ script, style, source, nonce }: PanelPage): string {
  const policy = [
    "default-src 'none'", `img-src ${source}`, `font-src ${source}`,
    `style-src ${source} 'nonce-${nonce}'`, `script-src 'nonce-${nonce}'`,
  ].join('; ');
  return `<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta http-equiv="Content-Security-Policy" content="${policy}">
  <meta property="csp-nonce" content="${nonce}">
  <link rel="stylesheet" href="${style}">
  <title>PEFT Lab</title>
</head>
<body>
  <script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}
