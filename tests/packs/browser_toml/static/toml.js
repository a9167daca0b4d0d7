export const toml = true;
