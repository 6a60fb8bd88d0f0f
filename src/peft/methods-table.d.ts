/** Every file of src/methods by id, put together by esbuild.mjs. */
declare module 'methods:all' {
  const methods: Record<string, import('./method').Method>;
  export default methods;
}
