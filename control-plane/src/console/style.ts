/** The front page's style: one column, the system's font and colours, light and dark. */
export const STYLE = `
:root { color-scheme: light dark; --sea: #0b7285; --good: #2b8a3e; --bad: #c92a2a; }
@media (prefers-color-scheme: dark) { :root { --sea: #66d9e8; --good: #8ce99a; --bad: #ffa8a8; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { color: var(--sea); margin: 0; letter-spacing: -0.02em; }
h2 { margin-top: 2.5rem; font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 1rem 0.35rem 0; }
th { font-weight: 600; border-bottom: 1px solid; }
a { color: var(--sea); margin-right: 0.5rem; }
pre { padding: 1rem; border: 1px solid; border-radius: 0.4rem; overflow-x: auto; }
.good { color: var(--good); }
.bad { color: var(--bad); }
`;
