/** The library's types end at its CommonJS entry; tests import its ES module. */
declare module "wgsl_reflect/wgsl_reflect.module.js" {
  export * from "wgsl_reflect";
}
