export const pack = "browser_files";
